from setuptools import find_packages, setup

PACKAGE = "magma_grounding_ros"

setup(
    name=PACKAGE,
    version="0.2.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="Magma robot stack maintainers",
    maintainer_email="maintainers@magma-robot.invalid",
    description="A model that points, as ROS 2 services: phrases to boxes, clicks to confirmed instructions.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "grounding = magma_grounding_ros.programs:main",
            "click = magma_grounding_ros.programs:main",
        ]
    },
)
