"""What launch files know of simulated tasks, and what they say where no simulator is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from magma_bringup.launching.simulated_tasks import first_task, parameter_files, robot_of


def test_a_task_names_its_robot_and_one_that_nobody_knows_names_none():
    assert robot_of("widowx_carrot_on_plate") == "widowx"
    assert robot_of("juggle") == "" and parameter_files("juggle", Path("/")) == []


def test_an_unknown_suite_is_refused():
    with pytest.raises(ValueError, match="juggling"):
        first_task("juggling", [])


@pytest.mark.parametrize(
    ("module", "ask"),
    [
        ("magma_sim.registry", lambda: robot_of("stack_blocks")),
        ("magma_sim.registry", lambda: parameter_files("stack_blocks", Path("/"))),
        ("magma_eval.suites", lambda: first_task("tabletop", [])),
    ],
)
def test_a_python_without_a_simulator_is_told_what_to_source(monkeypatch, module, ask):
    """As when the launch runs on a ROS 2 with the system's Python."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RuntimeError, match=r"\./run setup --ros2"):
        ask()
