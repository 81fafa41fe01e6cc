from glob import glob

from setuptools import find_packages, setup

PACKAGE = "magma_teleop"

setup(
    name=PACKAGE,
    version="0.2.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
        ("share/" + PACKAGE + "/config/devices", sorted(glob("config/devices/*.yaml"))),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="Magma robot stack maintainers",
    maintainer_email="maintainers@magma-robot.invalid",
    description="Take over and move the arm by hand: keyboard, gamepad, 3D mouse, leader arm.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "keyboard_teleop = magma_teleop.programs:main",
            "joy_teleop = magma_teleop.programs:main",
            "leader_teleop = magma_teleop.programs:main",
        ]
    },
)
