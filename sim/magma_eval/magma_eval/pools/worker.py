"""Plays leased episodes in environments that it keeps open: what a worker does, wherever it runs."""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from magma_eval.actions import action_type_of
from magma_eval.episodes import Episode
from magma_eval.policies.interface import PolicyFailedError, PolicyMismatchError
from magma_eval.policies.source import PolicySource
from magma_eval.pools.admission import machine_facts
from magma_eval.pools.protocol import Lease, WorkerSetup
from magma_eval.rollout.log import Rollout
from magma_eval.rollout.loop import rollout
from magma_eval.tasks import Task, takes_late_commands

TaskFactory = Callable[..., Task[Any]]
_RESULT_FIELDS = (
    "first_success_step",
    "success_steps",
    "steps",
    "max_steps",
    "instruction",
    "queries",
    "held_steps",
    "rejected_actions",
)
"""of a rollout, as they stand in a result"""


def find_factory(name: str) -> TaskFactory:
    """The function named "module:function". ValueError when there is none."""
    module, colon, function = name.partition(":")
    if not colon:
        raise ValueError(f"a task factory is given as module:function, got {name!r}")
    try:
        return getattr(importlib.import_module(module), function)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        problem = "there is no" if missing else "an import failed in the module of the"
        raise ValueError(f"{problem} task factory {name!r}: {error}") from error
    except AttributeError as error:
        raise ValueError(f"there is no task factory {name!r}: {error}") from error


class Environments:
    """Tasks by environment, the least recently used closed when there are too many.

    Args:
        factory: makes a task: name, images, and options as keyword arguments.
        images: whether the policy looks at images.
        kept: how many may be open.
    """

    def __init__(self, factory: TaskFactory, *, images: bool, kept: int) -> None:
        self._factory, self._images, self._kept = factory, images, kept
        self._open: OrderedDict[str, Task[Any]] = OrderedDict()

    def task(self, episode: Episode) -> Task[Any]:
        """The episode's task; raises whatever making it raises."""
        name = episode.environment
        if name not in self._open:
            while len(self._open) >= self._kept:
                self._open.popitem(last=False)[1].close()
            self._open[name] = self._factory(episode.make, images=self._images, **episode.options)
        self._open.move_to_end(name)
        return self._open[name]

    def drop(self, episode: Episode) -> None:
        """Forgets an environment that misbehaved."""
        self._open.pop(episode.environment, None)


@dataclass(frozen=True)
class Broken:
    """A leased episode was not played; see `magma_eval.pools.protocol.Failed`."""

    cause: str
    message: str


class EpisodeWorker:
    """Plays one lease after another.

    Args:
        setup: what all of them share.

    Raises:
        ValueError: there is no such task factory.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        self._policies = PolicySource(setup.policy, setup.url, setup.token, setup.identity)
        factory = find_factory(setup.factory)
        self._environments = Environments(factory, images=self._policies.needs_image, kept=setup.environments)
        self._folder = setup.folder

    def facts(self, setup: WorkerSetup) -> dict[str, str]:
        """What on this machine decides how episodes go, as far as the set-up asks for it."""
        if not setup.facts_of:
            return {}
        return machine_facts(setup.facts_of, self._policies.needs_image, setup.policy, served=bool(setup.url))

    def play(self, lease: Lease, alive: Callable[[str], None]) -> dict[str, Any] | Broken:
        """Plays an episode and writes its record.

        Args:
            lease: which, and how.
            alive: told what is being done, before every step and everything else that may take long.

        Returns:
            fields of `EpisodeResult` as JSON values, or why there are none.

        Raises:
            BrokenPipeError: nobody listens any more.
        """
        episode = lease.episode
        begin = time.perf_counter()
        alive("making the environment")
        try:
            task = self._environments.task(episode)
        except Exception as error:
            return _broken("setup", error)
        try:
            alive("asking for the policy")
            robot = getattr(task.spec, "robot", "")
            policy = self._policies.for_episode(episode, robot, lease.seed, action_type_of(task))
            alive("resetting")
            played = rollout(task, policy, episode, lease.settings, lambda step: alive(f"step {step}"))
            played.record.write(self._folder / lease.record)
        except PolicyMismatchError as error:
            return _broken("mismatch", error)
        except PolicyFailedError as error:
            return _broken("policy", error)
        except BrokenPipeError:
            raise
        except Exception as error:
            self._environments.drop(episode)
            return _broken("simulator", error)
        notes = list(getattr(task, "notes", ()))
        if lease.settings.clock == "realtime" and not takes_late_commands(task):
            notes.append("this simulator takes commands only between steps: latencies are rounded up to whole steps")
        return _result(played, notes, time.perf_counter() - begin)

    def close(self) -> None:
        """Ends the connection to the policy."""
        self._policies.close()


def _result(played: Rollout, notes: list[str], seconds: float) -> dict[str, Any]:
    return {
        **{name: getattr(played, name) for name in _RESULT_FIELDS},
        "success": vars(played.success),
        "stages": {name: vars(stage) for name, stage in played.stages.items()},
        "notes": notes,
        "seconds": round(seconds, 3),
    }


def _broken(cause: str, error: Exception) -> Broken:
    """The reason for the coordinator; the whole story goes to the worker's log."""
    traceback.print_exc()
    sys.stderr.flush()
    return Broken(cause, f"{type(error).__name__}: {error}")
