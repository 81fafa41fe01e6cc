from setuptools import find_packages, setup

PACKAGE = "magma_data"

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
    install_requires=[
        "numpy>=1.26",
        # Parquet. Exact: what a damaged file does is decided by the C++ in its wheel; 25.0.1 is the last for Python
        # 3.10.
        "pyarrow==25.0.1",
        # Films of a set. The version that magma-policy pins, and for the same reasons.
        "av==17.1.0",
        # The pictures inside of parquet files, PNG as LeRobot writes them. The range of magma-policy.
        "pillow>=10.1",
        "magma-contracts",
    ],
    zip_safe=True,
    maintainer="Magma robot stack maintainers",
    maintainer_email="maintainers@magma-robot.invalid",
    description="Demonstration sets as LeRobot datasets, read and written without lerobot.",
    license="Apache-2.0",
)
