"""Success in closed loop while a run goes on, measured by the evaluator's own program: the policy knows no simulator.

Held-out errors predict success poorly, so this is what a checkpoint is chosen by. The evaluator's suites on random
layouts (`tabletop-validation`) are meant for it; layouts that results are reported on must not be used.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from magma_contracts.errors import ConfigError
from magma_contracts.text import printable

COMMAND_VARIABLE = "MAGMA_EVAL"
"""Environment variable with the path of `magma-eval`, for environments that cannot hold the simulator."""


class SuccessUnknownError(RuntimeError):
    """The evaluator did not give an answer; the message says why."""


@dataclass(frozen=True)
class TaskSuccess:
    """Successes at the last step, of so many episodes of a task."""

    suite: str
    task: str
    successes: int
    episodes: int


def find_evaluator() -> str:
    """Path of `magma-eval`. Raises ConfigError when there is none."""
    found = os.environ.get(COMMAND_VARIABLE) or shutil.which("magma-eval")
    if found is None:
        raise ConfigError(
            "success is measured by magma-eval, which is not on the PATH: install magma-sim, or set "
            f"{COMMAND_VARIABLE} to its path in the environment that has it"
        )
    return found


def check_suite(suite: str) -> None:
    """Raises ConfigError when there is no evaluator, or it does not know the suite."""
    asked = subprocess.run([find_evaluator(), "list", "--suite", suite], capture_output=True, text=True)
    if asked.returncode:
        said = (asked.stderr or asked.stdout).strip().splitlines() or ["nothing"]
        raise ConfigError(f"success_suites: magma-eval refuses {printable(suite, 80)!r}: {printable(said[-1])}")


def measure(checkpoint: Path, suite: str, episodes: int, out: Path) -> list[TaskSuccess]:
    """Plays the first `episodes` episodes of each task of a suite with a checkpoint; results and log go to `out`.

    Raises:
        SuccessUnknownError: the evaluator failed, or an episode ended in an error.
    """
    out.mkdir(parents=True, exist_ok=True)
    command = [find_evaluator(), "run", "--suite", suite, "--policy", f"magma:{checkpoint}"]
    command += ["--limit", str(episodes), "--out", str(out)]
    log = out / "magma-eval.log"
    with log.open("wb") as output:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT).returncode
    if status:
        raise SuccessUnknownError(f"magma-eval ended with status {status} on {suite}; it said: {_last_line(log)}")
    counts: dict[str, list[bool]] = {}
    for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines():
        result = json.loads(line)
        if result["status"] != "ok":
            raise SuccessUnknownError(f"an episode of {suite} ended in an error; see {out / 'results.jsonl'}")
        counts.setdefault(result["key"]["task"], []).append(bool(result["success"]["last"]))
    return [TaskSuccess(suite, task, sum(flags), len(flags)) for task, flags in counts.items()]


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing"
