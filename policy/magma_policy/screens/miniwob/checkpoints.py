"""Checkpoints as policies for pages: the agent of `magma-browse`, asked by the evaluator.

They are loaded in the worker's own process: a policy server's protocol answers with an arm's actions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from magma_contracts.errors import ConfigError
from magma_eval.episodes import Episode
from magma_eval.policies.choice import PolicyChoice
from magma_eval.policies.interface import BlindNeeds, PolicyFailedError
from magma_policy.errors import CheckpointError, GenerationError, InstructionError, ObservationError
from magma_policy.families.interface import TextModel
from magma_policy.screens.actions import Kind, ScreenAction
from magma_policy.screens.agent import Act, Form, Question, ScreenAgent, Stop, View
from magma_policy.screens.form import asked_form
from magma_policy.screens.miniwob.observation import PageObservation
from magma_policy.screens.miniwob.pages import most_steps


class Checkpoints:
    """Policies of one checkpoint, one per episode.

    Args:
        choice: the checkpoint; its device and threads.

    Raises:
        PolicyFailedError: it cannot be loaded.
    """

    def __init__(self, choice: PolicyChoice) -> None:
        import torch

        from magma_policy.families import registry
        from magma_policy_client.checkpoint_paths import CheckpointNotFoundError, find_checkpoint

        if choice.threads:
            torch.set_num_threads(choice.threads)
        try:
            folder = find_checkpoint(choice.argument)
            self._form = asked_form(folder)
            registry.require_talking(folder)
            self._model = cast(TextModel, registry.load(folder, choice.device, None, None, None, None))
        except (CheckpointError, CheckpointNotFoundError, ConfigError, OSError) as error:
            raise PolicyFailedError(f"{choice.argument} cannot be loaded: {error}") from error
        self._name = choice.label

    def __call__(self, episode: Episode, seed: int) -> PagePolicy:
        """The policy of an episode; what it answers does not depend on the seed."""
        del seed
        return PagePolicy(self._name, self._answer, self._form, most_steps(episode.make))

    def _answer(self, question: Question) -> str:
        return self._model.chat(question.words, [question.image]).text


class PagePolicy:
    """One episode of the agent.

    Args:
        name: of the policy.
        answer: the model.
        form: in which it is asked.
        steps: actions at most.
    """

    def __init__(self, name: str, answer: Callable[[Question], str], form: Form, steps: int) -> None:
        self.spec = BlindNeeds(name, needs_image=True)
        self.stage_ms: Mapping[str, float] = {}
        self._answer, self._form, self._steps = answer, form, steps
        self._agent: ScreenAgent | None = None
        self._before: Act | None = None

    def reset(self, instruction: str) -> None:
        self._agent, self._before = ScreenAgent(instruction, self._form, self._steps), None

    def act(self, observation: PageObservation) -> ScreenAction | None:
        if self._agent is None or observation.image is None:
            raise PolicyFailedError("the task gave no picture to a policy that needs one")
        begin = time.perf_counter()
        given_up = self._follow(self._agent, observation)
        if given_up is not None:
            return given_up
        question = self._agent.ask(View(observation.image, observation.candidates))
        asked = time.perf_counter()
        if isinstance(question, Stop):
            return _end(question)
        try:
            answer = self._answer(question)
        except (GenerationError, InstructionError, ObservationError) as error:
            raise PolicyFailedError(f"{type(error).__name__}: {error}") from error
        self.stage_ms = {"marks": 1e3 * (asked - begin), "model": 1e3 * (time.perf_counter() - asked)}
        decision = self._agent.decide(answer)
        if isinstance(decision, Stop):
            return _end(decision)
        if not isinstance(decision, Act):
            return None
        self._before = decision
        return _in_view(decision, observation)

    def close(self) -> None:
        pass

    def _follow(self, agent: ScreenAgent, observation: PageObservation) -> ScreenAction | None:
        """Tells the agent what became of its last action."""
        before, self._before = self._before, None
        if before is None:
            return None
        if not observation.refusal:
            agent.done(before)
            return None
        told = agent.refuse(observation.refusal)
        return _end(told) if isinstance(told, Stop) else None


def _end(stop: Stop) -> ScreenAction:
    return ScreenAction(Kind.STATUS, text="COMPLETE" if stop.complete else "IMPOSSIBLE")


def _in_view(act: Act, observation: PageObservation) -> ScreenAction:
    """The action with the number that its candidate has in the whole view: of a view in parts each part counts anew."""
    if act.candidate is None:
        return act.action
    return replace(act.action, mark=observation.candidates.index(act.candidate))
