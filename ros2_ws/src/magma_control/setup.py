from setuptools import find_packages, setup

PACKAGE = "magma_control"

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
    description="The controller: phases, safety stage, watchdog and emergency stop in front of the arm.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["controller = magma_control.controller_node:main"]},
)
