from setuptools import find_packages, setup

PACKAGE = "magma_contracts"

setup(
    name=PACKAGE,
    version="0.2.0",
    packages=find_packages(exclude=["test"]),
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
    ],
    python_requires=">=3.10",
    # Nothing else, and any numpy: it is installed beside ROS 2, torch and simulators alike, and the original
    # SimplerEnv's SAPIEN 2.2.2 is compiled for numpy 1.24.
    install_requires=["numpy>=1.24"],
    zip_safe=True,
    maintainer="Magma robot stack maintainers",
    maintainer_email="maintainers@magma-robot.invalid",
    description="What the parts of the Magma robot stack agree on, in numpy alone.",
    license="Apache-2.0",
)
