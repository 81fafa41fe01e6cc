"""Faults in the real graph in simulation. `tests/benchmarks/faults.py` plays all of them and writes the table."""

from __future__ import annotations

import fcntl
import os
import random
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fault_catalogue import CLOCK_FAULTS, FAULTS, JOINT_FAULTS, run_fault
from fault_graph import FaultGraph

pytestmark = pytest.mark.render
ALL = os.environ.get("MAGMA_FAULTS", "") == "all"
"""Play every fault, not only those that always run."""


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """One graph for all faults: starting it takes longer than most of them."""
    domains = list(range(10, 100))
    random.shuffle(domains)
    for domain in domains:
        lock = (Path(tempfile.gettempdir()) / f"ros-test-domain-{domain}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        with pytest.MonkeyPatch.context() as patch, lock:
            patch.setenv("ROS_DOMAIN_ID", str(domain))
            patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
            graph = FaultGraph(tmp_path_factory.mktemp("faults"), domain)
            try:
                graph.start()
                yield graph
            finally:
                graph.close()
                print(graph.logs())
        return
    pytest.fail("all ROS domains for tests are taken")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if ALL or fault.every_run], ids=lambda fault: fault.name)
def test_the_arm_stops_and_does_not_move_again_by_chance(graph, fault):
    row = run_fault(graph, fault)
    # How soon is measured by the benchmark; a busy machine holds up the fault and the commands alike.
    assert row.problems == (), row


def test_the_catalogue_is_large_and_names_are_its_own():
    names = [fault.name for fault in (*FAULTS, *CLOCK_FAULTS, *JOINT_FAULTS)]
    assert len(names) == len(set(names)) >= 30
