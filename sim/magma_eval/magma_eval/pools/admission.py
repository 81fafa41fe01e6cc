"""Whether a worker on another machine may join a run: episodes must go there as they go everywhere else in it."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from magma_eval.policies.choice import PolicyChoice
from magma_eval.version import benchmarks_of, code_version_of, file_digest, versions_of

NAMES = {
    "code": "code that plays episodes",
    "policy": "content of the policy",
    "factory": "module that makes tasks",
}
"""What facts are called in sentences; the others by their own names."""


def code_facts(tasks: Sequence[str], factory: str) -> dict[str, str]:
    """What is installed here that decides how episodes go; loads no simulator.

    Args:
        tasks: names for `magma_eval.benchmarks.make_task`.
        factory: module:function that makes them; where there is none, the worker process says so.
    """
    found = {"code": code_version_of(tasks), "python": ".".join(platform.python_version_tuple()[:2])}
    found |= {f"version of {name}": version for name, version in versions_of(tasks).items()}
    module = factory.partition(":")[0]
    source = None if module.startswith("magma_eval.") else _source_of(module)
    if source is not None:
        found["factory"] = file_digest(source).hex()[:12]
    return found


def _source_of(module: str) -> Path | None:
    """The file of a module, which is not imported; None where there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None


def machine_facts(tasks: Sequence[str], images: bool, policy: PolicyChoice, served: bool) -> dict[str, str]:
    """What else of this machine decides it: renderers, data files, a policy's files. May load a simulator.

    Args:
        tasks: as above.
        images: whether the policy looks at any.
        policy: what is played.
        served: whether a policy server answers for it, which says itself what it is.
    """
    found = {} if served else {"policy": policy.identity()}
    for benchmark in benchmarks_of(tasks):
        found |= benchmark.machine(tuple(task for task in tasks if task in benchmark.tasks), images)
    return found


class Admission:
    """Compares what workers tell with what is known of the run. Of facts that nobody knows beforehand, such as the
    renderer, the first worker's count, in this part of the run and in every later one.

    Args:
        known: facts of the run.
        keep: told all facts whenever one was added, to be kept for the run's next part.
    """

    def __init__(
        self, known: Mapping[str, str], keep: Callable[[Mapping[str, str]], None] = lambda facts: None
    ) -> None:
        self._known, self._keep = dict(known), keep

    @property
    def known(self) -> dict[str, str]:
        """The facts of the run so far."""
        return dict(self._known)

    def objection(self, place: str, facts: Mapping[str, str]) -> str:
        """Why a worker is refused, in a sentence with every difference; "" when it may join.

        Args:
            place: its machine.
            facts: what it told.
        """
        differ = [
            f"its {NAMES.get(name, name)} is {value}, the run's is {self._known[name]}"
            for name, value in sorted(facts.items())
            if self._known.get(name, value) != value
        ]
        if differ:
            return f"{place} would play episodes in another way: {'; '.join(differ)}"
        if new := {name: value for name, value in facts.items() if name not in self._known}:
            self._known |= new
            self._keep(self.known)
        return ""
