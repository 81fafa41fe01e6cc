from setuptools import find_packages, setup

PACKAGE = "magma_recorder"

setup(
    name=PACKAGE,
    version="0.2.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
    ],
    install_requires=[
        "setuptools",
        "mcap==1.6.0",  # pinned: the file writer builds on its record classes; brings lz4 and zstandard
        "rosbags==0.11.9",  # message definitions for the schemas; the version that rclpy_dds pins
    ],
    extras_require={
        "foxglove": [
            "foxglove-sdk==0.30.3",  # pinned: below 1.0 its names still change; a wheel with its server in Rust
        ]
    },
    zip_safe=True,
    maintainer="Magma robot stack maintainers",
    maintainer_email="maintainers@magma-robot.invalid",
    description="Records the robot graph to MCAP, checks, replays and exports recordings.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "recorder = magma_recorder.programs:main",
            "foxglove_server = magma_recorder.programs:main",
            "magma-recording = magma_recorder.programs:main",
            "magma-replay = magma_recorder.programs:main",
            "magma-export = magma_recorder.programs:main",
        ]
    },
)
