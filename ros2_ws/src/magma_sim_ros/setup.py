from setuptools import find_packages, setup

PACKAGE = "magma_sim_ros"

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
    description="The built-in simulator as camera and arm of the robot graph, and scripted policies.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "simulator = magma_sim_ros.programs:main",
            "joint_simulator = magma_sim_ros.programs:main",
            "scripted_policy = magma_sim_ros.programs:main",
            "scripted_operator = magma_sim_ros.programs:main",
        ]
    },
)
