"""A worker process: plays the episodes that the evaluator sends, in environments that it keeps.

`python -m magma_sim.evaluation.worker READ_FD WRITE_FD`. Whatever the simulator prints goes to stdout and stderr, which
are a log file; messages have pipes of their own.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from magma_sim.evaluation import wire
from magma_sim.evaluation.episodes import Episode
from magma_sim.evaluation.playing import Manner, Played, play
from magma_sim.evaluation.policies import PolicyChoice, PolicyFailedError, PolicyMismatchError, PolicySource
from magma_sim.task import LateCommandTask, Task

TaskFactory = Callable[..., Task]
_PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


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
        images: whether the policy looks at pictures.
        kept: how many may be open.
    """

    def __init__(self, factory: TaskFactory, *, images: bool, kept: int) -> None:
        self._factory, self._images, self._kept = factory, images, kept
        self._open: OrderedDict[str, Task] = OrderedDict()

    def task(self, episode: Episode) -> Task:
        """The episode's task; raises whatever making it raises."""
        name = episode.environment
        if name not in self._open:
            while len(self._open) >= self._kept:
                self._open.popitem(last=False)[1].close()
            options = {key: tuple(value) if key == "image_size" else value for key, value in episode.options.items()}
            self._open[name] = self._factory(episode.make, images=self._images, **options)
        self._open.move_to_end(name)
        return self._open[name]

    def drop(self, episode: Episode) -> None:
        """Forgets an environment that misbehaved."""
        self._open.pop(episode.environment, None)


class Worker:
    """Answers the evaluator's messages until it says stop or is gone."""

    def __init__(self, read: int, write: int) -> None:
        self._reader, self._write = wire.LineReader(read), write
        self._environments: Environments | None = None
        self._policies: PolicySource | None = None
        self._folder = Path()

    def run(self) -> None:
        """Until the end."""
        while not self._reader.ended:
            for message in self._reader.read():
                if message["kind"] == "stop":
                    return
                if message["kind"] == "setup":
                    self._set_up(message)
                elif message["kind"] == "episode":
                    self._play(message)
                else:
                    raise wire.BrokenWireError(f"unknown message {message['kind']!r}")

    def close(self) -> None:
        """Ends the connection to the policy."""
        if self._policies is not None:
            self._policies.close()

    def _set_up(self, message: wire.Message) -> None:
        choice = PolicyChoice(**message["policy"])
        self._policies = PolicySource(choice, message["url"], message["token"], message["identity"])
        factory = find_factory(message["factory"])
        self._environments = Environments(factory, images=self._policies.needs_image, kept=message["environments"])
        self._folder = Path(message["folder"])
        wire.send(self._write, "ready")

    def _play(self, message: wire.Message) -> None:
        if self._environments is None or self._policies is None:
            raise wire.BrokenWireError("an episode came before the set-up")
        episode = Episode.from_json(message["episode"])
        manner = Manner(**message["manner"])
        begin = time.perf_counter()
        wire.send(self._write, "alive", doing="making the environment", step=0)
        try:
            task = self._environments.task(episode)
        except Exception as error:
            self._report("setup", error)
            return

        def progress(step: int) -> None:
            wire.send(self._write, "alive", doing=f"step {step}", step=step)

        try:
            wire.send(self._write, "alive", doing="asking for the policy", step=0)
            policy = self._policies.for_episode(episode, task.spec.robot, message["seed"], message["record"])
            wire.send(self._write, "alive", doing="resetting", step=0)
            played = play(task, policy, episode, manner, progress)
            played.record.write(self._folder / message["record"])
        except PolicyMismatchError as error:
            self._report("mismatch", error)
        except PolicyFailedError as error:
            self._report("policy", error)
        except BrokenPipeError:
            raise
        except Exception as error:
            self._environments.drop(episode)
            self._report("simulator", error)
        else:
            notes = list(getattr(task, "notes", ()))
            if manner.clock == "realtime" and not isinstance(task, LateCommandTask):
                notes.append(
                    "this simulator takes commands only between steps: latencies are rounded up to whole steps"
                )
            self._finished(played, notes, time.perf_counter() - begin)

    def _finished(self, played: Played, notes: list[str], seconds: float) -> None:
        content: dict[str, Any] = {
            name: getattr(played, name)
            for name in (
                "first_success_step",
                "success_steps",
                "steps",
                "max_steps",
                "instruction",
                "queries",
                "held_steps",
                "rejected_actions",
            )
        }
        content["success"] = vars(played.success)
        content["stages"] = {name: vars(stage) for name, stage in played.stages.items()}
        wire.send(self._write, "result", notes=notes, seconds=round(seconds, 3), **content)

    def _report(self, cause: str, error: Exception) -> None:
        traceback.print_exc()
        sys.stderr.flush()
        wire.send(self._write, "failed", cause=cause, message=f"{type(error).__name__}: {error}")


def die_with_parent() -> None:
    """Has the kernel kill this process when the evaluator dies, by whatever cause: a simulator may hang for ever."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Entry point of the process."""
    parent = int(sys.argv[3])
    die_with_parent()
    if os.getppid() != parent:
        return  # it died before we asked to be told
    # Ctrl-C in a terminal reaches every process; the evaluator decides what happens to its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = Worker(int(sys.argv[1]), int(sys.argv[2]))
    status = 0
    try:
        worker.run()
    except BrokenPipeError:
        pass  # the evaluator is gone
    except BaseException:
        traceback.print_exc()
        status = 1
    worker.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Graphics drivers are known to hang in their exit handlers, and there is nothing left to save.
    os._exit(status)


if __name__ == "__main__":
    main()
