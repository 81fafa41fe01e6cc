"""Policies for pages that need no model: a mark at random, and what reading alone brings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from magma_eval.episodes import Episode
from magma_eval.policies.interface import BlindNeeds, PolicyMismatchError
from magma_policy.screens.actions import Kind, ScreenAction
from magma_policy.screens.candidates import Candidate
from magma_policy.screens.miniwob.experts import EXPERTS
from magma_policy.screens.miniwob.observation import PageObservation

FIELDS = frozenset({"textbox", "searchbox", "spinbutton"})
_ENDS = ("submit", "search", "login", "log in", "ok", "done", "send", "book", "buy", "save", "enter", "next", "go")
_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”')
_WORD = re.compile(r"\w+")
_EMPTY = """
    a an and the of to in into on for with from by is are it its then this that click press select choose find enter
    type write text button box item below above your please
"""
_EMPTY_WORDS = frozenset(_EMPTY.split())
NOTHING: Mapping[str, float] = {}


class ScriptedPages:
    """What these policies have in common: they look at no picture."""

    def __init__(self, name: str) -> None:
        self.spec = BlindNeeds(name)
        self.stage_ms = NOTHING

    def reset(self, instruction: str) -> None:
        del instruction

    def close(self) -> None:
        pass


class WaitingPolicy(ScriptedPages):
    """Does nothing: what a page is worth by itself."""

    def __init__(self) -> None:
        super().__init__("hold")

    def act(self, observation: PageObservation) -> None:
        del observation


class RandomMarks(ScriptedPages):
    """A mark at random; what is quoted in the task, or else one of its words, goes into fields, and any option is
    chosen. The seed of the run and the episode's name decide."""

    def __init__(self, episode: Episode, seed: int) -> None:
        super().__init__("random")
        name = f"{episode.suite}/{episode.task}/{episode.variant}/{episode.episode_id}/{seed}"
        words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype=np.uint32)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words.tolist())))

    def act(self, observation: PageObservation) -> ScreenAction | None:
        if not observation.candidates:
            return None
        mark = int(self._random.integers(len(observation.candidates)))
        candidate = observation.candidates[mark]
        if candidate.role in FIELDS:
            texts = quoted(observation.instruction) or _WORD.findall(observation.instruction) or ["a"]
            return ScreenAction(Kind.TYPE, mark, None, self._one(texts))
        if candidate.options:
            return ScreenAction(
                Kind.SELECT, mark, None, self._one([word for word in candidate.options if word.strip()])
            )
        return ScreenAction(Kind.CLICK, mark)

    def _one(self, texts: Sequence[str]) -> str:
        return texts[int(self._random.integers(len(texts)))]


class MatchingWords(ScriptedPages):
    """Reads the task and what is written on the marks, and sees nothing: fills fields with what is quoted, clicks what
    the task names, then whatever sends it off."""

    def __init__(self) -> None:
        super().__init__("words")
        self._done: set[str] = set()
        self._typed = 0

    def reset(self, instruction: str) -> None:
        del instruction
        self._done, self._typed = set(), 0

    def act(self, observation: PageObservation) -> ScreenAction | None:
        marks = observation.candidates
        if not marks:
            return None
        task, texts = observation.instruction.casefold(), quoted(observation.instruction)
        fresh = [mark for mark, candidate in enumerate(marks) if self._known(candidate) not in self._done]
        for mark in fresh:
            candidate = marks[mark]
            if candidate.role in FIELDS and self._typed < len(texts):
                self._typed += 1
                return self._do(ScreenAction(Kind.TYPE, mark, None, texts[self._typed - 1]), candidate)
            offered = [option for option in candidate.options if option.strip() and option.casefold() in task]
            if offered:
                return self._do(ScreenAction(Kind.SELECT, mark, None, max(offered, key=len)), candidate)
        clickable = [mark for mark in fresh if marks[mark].role not in FIELDS]
        named = [mark for mark in clickable if _said(marks[mark].name, task)]
        if named:
            mark = max(named, key=lambda item: len(marks[item].name))
            return self._do(ScreenAction(Kind.CLICK, mark), marks[mark])
        ends = [mark for mark in clickable if marks[mark].name.strip().casefold() in _ENDS]
        if ends:
            return self._do(ScreenAction(Kind.CLICK, ends[0]), marks[ends[0]])
        wanted = set(_WORD.findall(task)) - _EMPTY_WORDS
        overlap = {mark: len(wanted & set(_WORD.findall(marks[mark].name.casefold()))) for mark in clickable}
        best = max(overlap, key=lambda mark: overlap[mark], default=fresh[0] if fresh else 0)
        return self._do(ScreenAction(Kind.CLICK, best), marks[best])

    def _do(self, action: ScreenAction, candidate: Candidate) -> ScreenAction:
        self._done.add(self._known(candidate))
        return action

    def _known(self, candidate: Candidate) -> str:
        return candidate.key or f"{candidate.role} {candidate.name}"


class ExpertPolicy(ScriptedPages):
    """The script that solves one page, by its elements and, where these do not tell, its picture."""

    def __init__(self, episode: Episode) -> None:
        super().__init__("expert")
        if episode.make not in EXPERTS:
            raise PolicyMismatchError(
                f"there is no scripted expert for {episode.make!r}; there are those of {', '.join(EXPERTS)}"
            )
        self.spec = BlindNeeds("expert", needs_image=True)
        self._script = EXPERTS[episode.make]

    def act(self, observation: PageObservation) -> ScreenAction | None:
        return self._script(observation)


def quoted(instruction: str) -> list[str]:
    """What stands in quotation marks, in order."""
    return [first or second for first, second in _QUOTED.findall(instruction)]


def _said(name: str, task: str) -> bool:
    """Whether a name stands in the task as whole words."""
    words = name.strip().casefold()
    return bool(words) and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", task) is not None


SCRIPTED: dict[str, Callable[[Episode, int], Any]] = {
    "random": RandomMarks,
    "words": lambda episode, seed: MatchingWords(),
    "expert": lambda episode, seed: ExpertPolicy(episode),
    "hold": lambda episode, seed: WaitingPolicy(),
}
"""By name on the command line."""
