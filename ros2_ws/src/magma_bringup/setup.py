import os
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "magma_bringup"
HERE = Path(__file__).resolve().parent
LAUNCH = HERE.parents[2] / "launch"


def files(pattern):
    """Files of the repository's launch folder, relative to this one as setuptools wants them."""
    found = sorted(os.path.relpath(path, HERE) for path in LAUNCH.glob(pattern))
    if not found:
        # No SystemExit: colcon takes that for a setup.py without a call of setup().
        raise RuntimeError(
            f"no {pattern} in {LAUNCH}: copy the whole repository, or link ros2_ws/src of it into the workspace"
        )
    return found


setup(
    name=PACKAGE,
    version="0.2.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
        ("share/" + PACKAGE + "/launch", files("*.launch.py")),
        ("share/" + PACKAGE + "/config", [*files("*.yaml"), *files("*.rviz"), *files("foxglove_*.json")]),
    ],
    install_requires=["setuptools", "tyro>=0.8.5"],
    zip_safe=True,
    maintainer="Magma robot stack maintainers",
    maintainer_email="maintainers@magma-robot.invalid",
    description="Starts the robot graph and plays episodes through it.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "episode_runner = magma_bringup.programs:main",
            "instruction_keeper = magma_bringup.programs:main",
            "live_view = magma_bringup.programs:main",
            "task_server = magma_bringup.programs:main",
            "demo = magma_bringup.programs:main",
        ]
    },
)
