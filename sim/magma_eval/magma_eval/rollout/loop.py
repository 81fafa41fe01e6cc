"""Plays one episode: task and policy in, verdict and record out. Knows no files, no processes and no kind of action."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from magma_contracts.foresight import Ahead, foretell
from magma_eval.actions import action_type_of
from magma_eval.episodes import Episode
from magma_eval.policies.interface import EpisodePolicy, PlanningPolicy
from magma_eval.rollout.clocks import clock_of
from magma_eval.rollout.log import EpisodeLog, Rollout
from magma_eval.rollout.settings import RolloutSettings
from magma_eval.tasks import Observation, Task, has_ended, takes_late_commands

ActionT = TypeVar("ActionT")


def rollout(
    task: Task[Any],
    policy: EpisodePolicy,
    episode: Episode,
    settings: RolloutSettings,
    progress: Callable[[int], None] = lambda step: None,
) -> Rollout:
    """Plays an episode.

    Args:
        task: the episode's environment, made with images when the policy needs them.
        policy: the policy for this episode.
        episode: which start.
        settings: clock, latency, rule.
        progress: called with the number of steps done, after the reset and after every step.

    Raises:
        PolicyMismatchError: the policy does not fit the task.
        PolicyFailedError: the policy could not be asked.
        Whatever the simulator raises.
    """
    policy.spec.check_fits(task.spec)
    actions, max_steps = action_type_of(task), task.spec.max_steps
    log: EpisodeLog[Any] = EpisodeLog(actions)

    def ask(observation: Observation, ahead: Ahead | None = None) -> tuple[list[Any], float]:
        """The policy's actions, none when they are invalid, and the seconds it took."""
        if ahead is not None and not policy.spec.reads_state:
            # What it answers starts from its picture, whatever the arm is said to be doing by then.
            ahead = None
        begin = time.perf_counter()
        answer = policy.act(observation) if ahead is None else ask_ahead(policy, observation, ahead)
        seconds = time.perf_counter() - begin
        log.asked(observation.step)
        log.time("policy", 1e3 * seconds)
        for stage, milliseconds in policy.stage_ms.items():
            log.time(f"policy/{stage}", float(milliseconds))
        if answer is None:
            return [], seconds
        try:
            chosen = actions.checked(answer)[: settings.executed]
            return [*([] if ahead is None else ahead.commands), *chosen], seconds
        except ValueError:
            # Refused whole, as the robot's controller does; time passes all the same.
            log.rejected()
            return [], seconds

    with contextlib.closing(policy):
        with log.timed("reset"):
            observation = task.reset(episode.reset_variant, episode.layout)
        policy.reset(observation.instruction)
        progress(0)
        with contextlib.closing(clock_of(settings, task, ask, log.time, _chance_of(episode))) as clock:
            while observation.step < max_steps and not (
                has_ended(observation) or (settings.rule == "first" and log.succeeded)
            ):
                command = clock.command(observation)
                commanded = command.action is not None
                action = command.action if commanded else actions.hold(observation)
                render = policy.spec.needs_image and clock.looks_at(observation.step + 1)
                with log.timed("simulator"):
                    observation = advance(task, action, commanded=commanded, late_s=command.late_s, render=render)
                log.stepped(action, commanded=commanded, late_s=command.late_s, success=bool(observation.success))
                clock.stepped()
                progress(observation.step)
    return log.result(settings.rule, observation.instruction, max_steps)


def ask_ahead(policy: EpisodePolicy, observation: Any, ahead: Ahead) -> Any:
    """Asks a policy whose answer takes effect later than it looks: one that plans is told what comes until then, any
    other looks at the arm as it will be."""
    if ahead.effect_s <= 0.0:
        return policy.act(observation)
    if isinstance(policy, PlanningPolicy):
        return policy.plan(observation, ahead)
    return policy.act(dataclasses.replace(observation, end_effector=foretell(observation.end_effector, ahead)))


def _chance_of(episode: Episode) -> Callable[[], float]:
    """The same numbers for the same episode, whoever plays it."""
    name = f"{episode.suite}/{episode.task}/{episode.variant}/{episode.episode_id}"
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype=np.uint32)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words.tolist()))).random


def advance(
    task: Task[ActionT], action: ActionT, *, commanded: bool, late_s: float = 0.0, render: bool = True
) -> Observation:
    """One step of a task, as it is recorded.

    Args:
        task: the task.
        action: what is executed; without a command, the one that changes nothing.
        commanded: whether it is a command. Without one, a simulator that can leaves its arm to what it was told before.
        late_s: when in the step it takes effect; 0 for simulators that take commands only between steps.
        render: whether the observation has an image.
    """
    if takes_late_commands(task):
        return task.step(action if commanded else None, render=render, late_s=late_s)
    return task.step(action, render=render)
