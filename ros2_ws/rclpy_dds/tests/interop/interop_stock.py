"""Runs programs in the environment of a real ROS 2, which ``MAGMA_ROS2_SETUP`` names.

The variable holds the path of a ``setup.bash`` (several, separated by ``:``, are sourced in order, such as that of a
virtual environment first). The tests themselves run in the environment without ROS 2.
"""

import os
import shlex
import subprocess
from collections.abc import Collection

SETUP_VARIABLE = "MAGMA_ROS2_SETUP"
# What a ROS 2 that is sourced twice, or our own environment, must not hand on to the other side.
_OURS = {"AMENT_PREFIX_PATH", "PYTHONPATH", "VIRTUAL_ENV", "CYCLONEDDS_URI"}


def why_no_stock() -> str | None:
    """Return why there is no ROS 2 to test with, or None."""
    setups = os.environ.get(SETUP_VARIABLE, "")
    if not setups:
        return f"needs a ROS 2 with rmw_cyclonedds_cpp: set {SETUP_VARIABLE} to its setup.bash"
    missing = [path for path in setups.split(":") if not os.path.isfile(path)]
    return f"{SETUP_VARIABLE} names files that do not exist: {', '.join(missing)}" if missing else None


def stock_command(*words: str) -> list[str]:
    """Return the command line that runs ``words`` with ROS 2 sourced; ``python3`` is ROS 2's own."""
    sourcing = "; ".join(f"source {shlex.quote(path)}" for path in os.environ[SETUP_VARIABLE].split(":"))
    return ["bash", "-c", f"{sourcing}; exec {shlex.join(words)}"]


def stock_environment(domain: int, rmw: str = "rmw_cyclonedds_cpp", without: Collection[str] = ()) -> dict[str, str]:
    """Return the environment for the other side in a domain, on this machine only, also less what ``without`` names."""
    environment = {name: value for name, value in os.environ.items() if name not in _OURS.union(without)}
    environment.update(
        ROS_DOMAIN_ID=str(domain),
        RMW_IMPLEMENTATION=rmw,
        ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
        PYTHONUNBUFFERED="1",
    )
    return environment


def run_stock(*words: str, domain: int, timeout_s: float = 60.0, **options) -> subprocess.CompletedProcess:
    """Run a program with ROS 2 sourced and return what it printed."""
    return subprocess.run(
        stock_command(*words),
        env=stock_environment(domain),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        **options,
    )
