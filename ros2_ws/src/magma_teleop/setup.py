from setuptools import find_packages, setup

PACKAGE = "magma_teleop"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="Magma robot stack maintainers",
    maintainer_email="maintainers@magma-robot.invalid",
    description="Take over and move the arm by hand from a keyboard in a terminal.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["keyboard_teleop = magma_teleop.keyboard_teleop_node:main"]},
)
