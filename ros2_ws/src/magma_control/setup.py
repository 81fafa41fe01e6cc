from setuptools import find_packages, setup

PACKAGE = "magma_control"

setup(
    name=PACKAGE,
    version="0.2.0",
    packages=find_packages(exclude=["test"]),
    package_data={PACKAGE: ["robots/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
    ],
    install_requires=[
        "setuptools",
        "numpy>=1.26",
        # Joint-level arms only; the arm that takes deltas runs without them. The two that shape motion are pinned:
        # golden traces hold for one version.
        "pin>=3.4,<5",  # rigid-body kinematics and collisions; wheels for CPython 3.10 to 3.12
        "pin-pink==4.4.0",  # inverse kinematics as a quadratic programme on top of pin
        "daqp>=0.7",  # the solver for it: the quickest of those with wheels for problems of seven unknowns
        "ruckig==0.19.4",  # jerk-limited motion; its Community API
    ],
    zip_safe=True,
    maintainer="Magma robot stack maintainers",
    maintainer_email="maintainers@magma-robot.invalid",
    description="The controller: phases, safety stage, watchdog and emergency stop in front of the arm.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["controller = magma_control.programs:main"]},
)
