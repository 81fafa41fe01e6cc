from setuptools import find_packages, setup

PACKAGE = "magma_common"

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
        "pyyaml",
        # Decodes JPEG with libjpeg-turbo's own judgement of what is damaged, which OpenCV and Pillow do not pass on.
        "simplejpeg==1.9.0",
    ],
    zip_safe=True,
    maintainer="Magma robot stack maintainers",
    maintainer_email="maintainers@magma-robot.invalid",
    description="QoS profiles, message conversions and typed node configuration shared by the nodes.",
    license="Apache-2.0",
)
