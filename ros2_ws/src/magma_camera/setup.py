from setuptools import find_packages, setup

PACKAGE = "magma_camera"

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
        "av==17.1.0",  # video files and streams; the version that magma-policy pins, where the reason stands
    ],
    zip_safe=True,
    maintainer="Magma robot stack maintainers",
    maintainer_email="maintainers@magma-robot.invalid",
    description="Model-ready frames from any camera driver, and a driver for webcams and video files.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "camera_subscriber = magma_camera.programs:main",
            "camera_source = magma_camera.programs:main",
        ]
    },
)
