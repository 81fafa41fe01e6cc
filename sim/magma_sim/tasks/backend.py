"""What a simulator tells of its tasks before it is loaded: the entries of the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magma_sim.tasks.interface import Task
from magma_sim.tasks.skill import Skill


@dataclass(frozen=True)
class TaskEntry:
    """One task."""

    name: str
    """as `make_task` takes it"""
    instruction: str = ""
    """empty where only the simulator itself knows it"""
    robot: str = ""
    """arm and camera, as a checkpoint of several robots names them; empty where the options decide"""
    skill: Skill | None = None
    """what an expert has to know of it; None where there is no expert"""
    like: str = ""
    """task of another simulator with the same robot, objects and frames: its expert is this one's too"""


@dataclass(frozen=True)
class Backend:
    """One simulator and its tasks. Importing it takes no longer than its tables."""

    name: str
    tasks: tuple[TaskEntry, ...]
    make: Callable[..., Task]
    """(name, *, images, **options); loads the simulator"""
    options: frozenset[str] = frozenset()
    """names of options that `make` takes as a mapping, beside those it names"""
    check: Callable[[], None] = lambda: None
    """raises SimulatorUnavailableError when files are missing that every task needs; loads nothing"""
    data: Callable[[], tuple[Path, ...]] = lambda: ()
    """folders of files, beside this package's, that decide how episodes look and go; raises as `check`"""
    layout_streams: Mapping[str, Any] = field(default_factory=dict)
    """where random layouts come from, for the card of demonstrations"""
