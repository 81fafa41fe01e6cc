"""`magma-sim-evaluate`: plays a policy in this process, without the robot graph, and counts successes.

The rule is SimplerEnv's own: an episode counts as a success when the goal holds at its last step. The command plays
the scripted expert, which shows that the suite is solvable; `play_episode` takes any function from observation to
action.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from magma_sim import make_task
from magma_sim.backends.tabletop.layouts import EVALUATION_LAYOUTS
from magma_sim.backends.tabletop.objects import TASKS, goal_of
from magma_sim.expert import ScriptedExpert
from magma_sim.rendering import RenderingUnavailableError
from magma_sim.statistics import Rate
from magma_sim.task import VARIANTS, Observation, Task, Variant
from magma_sim.videos import VideoWriter, captioned

Policy = Callable[[Observation], NDArray[np.floating]]


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode went."""

    task: str
    variant: Variant
    layout: int
    success: bool
    """the goal held at the last step"""
    first_success_step: int | None
    """the step at which it held first, if ever"""
    steps: int


def play_episode(
    task: Task, policy: Policy, variant: Variant, layout: int, *, render: bool, video: VideoWriter | None = None
) -> EpisodeResult:
    """Plays all steps of one episode.

    Args:
        task: the task to play.
        policy: gives an EndEffectorDelta (7,) for an observation.
        variant: "eval" or "random"; layout: its number.
        render: whether the policy needs `Observation.image`.
        video: writer to which the large view of every step is appended.
    """
    observation = task.reset(variant, layout)
    first = None
    while observation.step < task.spec.max_steps:
        if video is not None:
            state = "goal reached" if observation.success else ""
            caption = (observation.instruction, f"step {observation.step} of {task.spec.max_steps}  {state}")
            video.write(captioned(task.render_large(), caption))
        observation = task.step(policy(observation), render=render)
        if observation.success and first is None:
            first = observation.step
    return EpisodeResult(task.spec.task, variant, layout, observation.success, first, observation.step)


@dataclass(frozen=True)
class EvaluationConfig:
    """What `magma-sim-evaluate` plays."""

    tasks: tuple[str, ...] = TASKS
    """tasks to play"""
    variant: Variant = "eval"
    """eval: the fixed evaluation layouts; random: training layouts"""
    layouts: int = EVALUATION_LAYOUTS
    """number of layouts per task, from `first_layout` on"""
    first_layout: int = 0
    """number of the first layout"""
    videos: Path | None = None
    """folder for one video per episode; needs a device that renders, the expert itself does not"""

    def __post_init__(self) -> None:
        for task in self.tasks:
            goal_of(task)
        if self.variant not in VARIANTS:
            raise ValueError(f"unknown variant {self.variant!r}; it is one of {', '.join(VARIANTS)}")
        if self.layouts < 1 or self.first_layout < 0:
            raise ValueError("layouts must be at least 1 and first_layout at least 0")
        if self.variant == "eval" and self.first_layout + self.layouts > EVALUATION_LAYOUTS:
            raise ValueError(f"there are {EVALUATION_LAYOUTS} evaluation layouts, numbered from 0")


def evaluate_expert(config: EvaluationConfig) -> list[EpisodeResult]:
    """Plays the scripted expert as configured and returns one result per episode."""
    from tqdm import tqdm

    if config.videos is not None:
        config.videos.mkdir(parents=True, exist_ok=True)
    results = []
    jobs = [(name, config.first_layout + index) for name in config.tasks for index in range(config.layouts)]
    for name, layout in tqdm(jobs, unit="episode", file=sys.stderr):
        task = make_task(name, images=config.videos is not None)
        expert = ScriptedExpert(name)

        def policy(observation: Observation, expert: ScriptedExpert = expert) -> NDArray[np.floating]:
            return expert.act(observation.end_effector, observation.object_poses)

        if config.videos is None:
            results.append(play_episode(task, policy, config.variant, layout, render=False))
            continue
        task.reset(config.variant, layout)
        height, width = task.render_large().shape[:2]
        path = config.videos / f"{name}-{config.variant}-{layout:02d}.mp4"
        with VideoWriter(path, (width, height), 1.0 / task.spec.step_period_s) as video:
            results.append(play_episode(task, policy, config.variant, layout, render=False, video=video))
    return results


def main() -> None:
    """Command line entry point."""
    import tyro

    try:
        results = evaluate_expert(tyro.cli(EvaluationConfig, prog="magma-sim-evaluate", description=__doc__))
    except (ValueError, RenderingUnavailableError) as error:
        sys.exit(f"magma-sim-evaluate: {error}")
    for name in dict.fromkeys(result.task for result in results):
        episodes = [result for result in results if result.task == name]
        rate = Rate(sum(result.success for result in episodes), len(episodes))
        reached = [result.first_success_step for result in episodes if result.first_success_step is not None]
        steps = f"goal first reached after {np.mean(reached):.1f} steps on average" if reached else "never reached"
        failed = [result.layout for result in episodes if not result.success]
        print(f"{name:20s} {rate!s:22s} {steps}" + (f"; failed layouts {failed}" if failed else ""))


if __name__ == "__main__":
    main()
