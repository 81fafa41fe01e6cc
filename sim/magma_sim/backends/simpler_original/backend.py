"""The original SimplerEnv's tasks, as the registry lists them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from magma_sim.backends.simpler_original.installation import find
from magma_sim.backends.simpler_original.names import PREFIX, SUITE, TASKS
from magma_sim.backends.simpler_original.options import SimplerOptions
from magma_sim.tasks.backend import Backend, TaskEntry
from magma_sim.tasks.interface import Task


def _make(name: str, *, images: bool = True, **options: object) -> Task:
    from magma_sim.backends.simpler_original.task import SimplerTask

    return SimplerTask(name.removeprefix(PREFIX), images=images, options=options)


def _check() -> None:
    find()


def _data() -> tuple[Path, ...]:
    source = Path(find().source)
    return source / "simpler_env", source / "ManiSkill2_real2sim"


# A task and its port to another simulator have one name, robot, objects and frames.
BACKEND = Backend(
    name=SUITE,
    tasks=tuple(TaskEntry(PREFIX + task, like=task) for task in TASKS),
    make=_make,
    options=frozenset(field.name for field in fields(SimplerOptions)),
    check=_check,
    data=_data,
)
