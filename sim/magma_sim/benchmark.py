"""These tasks for the evaluator: what its entry point `magma_eval.tasks` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magma_contracts.foresight import Ahead
from magma_eval.actions import Deltas
from magma_eval.benchmarks import Benchmark
from magma_eval.episodes import Episode
from magma_eval.policies.interface import PolicyMismatchError
from magma_eval.policies.scripted import ScriptedPolicy
from magma_sim.backends.simpler_bridge.suites import SUITES as SIMPLER_BRIDGE
from magma_sim.backends.simpler_original.suites import PUBLISHED
from magma_sim.backends.simpler_original.suites import SUITES as SIMPLER_ORIGINAL
from magma_sim.backends.tabletop.suites import SUITES as TABLETOP
from magma_sim.experts.pick_and_place import make_expert
from magma_sim.experts.planning import plan
from magma_sim.registry import check_task, data_files, entries, make_task

_ROOT = Path(__file__).parent


class ExpertPolicy(ScriptedPolicy):
    """The scripted expert of the task. It sees the poses of all objects: an upper bound, and proof that a task can be
    solved."""

    def __init__(self, episode: Episode) -> None:
        super().__init__("expert")
        try:
            self._expert = make_expert(episode.make)
        except ValueError as error:
            raise PolicyMismatchError(f"there is no scripted expert for {episode.make!r}: {error}") from error

    def act(self, observation: Any) -> Deltas:
        return self._expert.act(observation.end_effector, observation.object_poses)

    def plan(self, observation: Any, ahead: Ahead) -> Deltas:
        """Its steps for a later moment, see `magma_eval.policies.interface.PlanningPolicy`."""
        return plan(self._expert, observation.end_effector, observation.object_poses, ahead)


def machine(tasks: tuple[str, ...], images: bool) -> dict[str, str]:
    """What of this machine decides how these tasks look and go; see `magma_eval.benchmarks.Benchmark.machine`."""
    found = {f"data files of {name}": content for name, content in data_files(tasks).items()}
    if images:
        # SAPIEN takes a second to load.
        from magma_sim.backends.shared.rendering import choose_render_device

        found["renderer"] = choose_render_device().name
    return found


BENCHMARK = Benchmark(
    tasks=tuple(entries()),
    make_task=make_task,
    check=check_task,
    suites=(*TABLETOP, *SIMPLER_BRIDGE, *SIMPLER_ORIGINAL),
    scripted={"expert": lambda episode, seed: ExpertPolicy(episode)},
    published=PUBLISHED,
    sources=tuple(_ROOT / name for name in ("tasks", "experts", "backends")),
    distributions=("mani_skill", "sapien"),
    machine=machine,
    factories=("magma_sim:make_task",),
)
