"""Videos of played episodes: the recorded actions are executed again and filmed, so that the evaluation itself need not
render more than the policy looks at. A replay that does not repeat the recorded verdicts says so in the image.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from magma_eval.actions import END_EFFECTOR_DELTA, ActionType, action_type_of
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.episode_result import EpisodeResult, ResultsError, SuccessRule
from magma_eval.rollout.loop import advance
from magma_eval.tasks import Task
from magma_eval.videos import VideoWriter

GREEN, RED, GREY = (46, 160, 67), (200, 50, 47), (110, 110, 110)
_STILL_S = 1.5
AFTER_SUCCESS_STEPS = 3
"""A film ends so many steps after the goal holds for good: what follows stands still."""


@dataclass(frozen=True)
class Clip:
    """A finished video."""

    result: EpisodeResult
    path: Path
    faithful: bool
    """whether the replay had the recorded verdict at every step"""


def choose(results: Sequence[EpisodeResult], rule: SuccessRule, failures: int, successes: int) -> list[EpisodeResult]:
    """Which episodes to show: failures first, dealt out over the tasks, then successes likewise."""
    chosen: list[EpisodeResult] = []
    for verdict, count in ((False, failures), (True, successes)):
        queues: dict[tuple[str, str, str], list[EpisodeResult]] = {}
        for result in results:
            if result.success is not None and result.record and result.success.under(rule) is verdict:
                queues.setdefault((result.key.suite, result.key.task, result.key.policy), []).append(result)
        waiting = list(queues.values())
        left = count
        while waiting and left > 0:
            for queue in list(waiting):
                if left == 0:
                    break
                chosen.append(queue.pop(0))
                left -= 1
                if not queue:
                    waiting.remove(queue)
    return chosen


def film(
    task: Task[Any],
    result: EpisodeResult,
    record: EpisodeRecord,
    path: Path,
    rule: SuccessRule,
    steps: int | None = None,
) -> Clip:
    """Executes a record in its task, made with images, and writes the video; with `steps`, of its first so many steps.

    Raises:
        ResultsError: there is nothing to show.
        Whatever the simulator raises.
    """
    if len(record.actions) == 0:
        raise ResultsError(f"{result.key.name} has no steps")
    verdict = result.success.under(rule) if result.success is not None else None
    faithful = True
    actions = action_type_of(task)
    first = task.reset(result.episode.reset_variant, result.episode.layout)

    def moments() -> Iterator[Moment]:
        nonlocal faithful
        yield Moment(task.render_large(), first.success)
        for step, action in enumerate(actions.unpack(record.actions)[:steps]):
            late_s = float(record.late_s[step])
            commanded = bool(record.commanded[step])
            observation = advance(task, action, commanded=commanded, late_s=late_s, render=False)
            faithful = faithful and bool(observation.success) == bool(record.success[step])
            yield Moment(task.render_large(), observation.success)

    def words() -> str:
        text = ("SUCCESS" if verdict else "FAILURE") + f" ({rule})" + ("" if faithful else "  REPLAY DIFFERS")
        if not verdict and result.first_success_step is not None:
            text += f"  goal held at step {result.first_success_step}, lost later"
        return text

    titles = Titles(first.instruction, result.max_steps, verdict, words)
    write_film(path, moments(), record, titles, task.spec.step_period_s, actions)
    return Clip(result, path, faithful)


@dataclass(frozen=True)
class Moment:
    """What a film shows at once."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB"""
    success: bool
    """whether the goal holds"""


@dataclass(frozen=True)
class Titles:
    """What is written into a film."""

    instruction: str
    max_steps: int
    verdict: bool | None
    words: Callable[[], str]
    """on the last image; asked for when all the others are written"""


def write_film(
    path: Path,
    moments: Iterable[Moment],
    record: EpisodeRecord,
    titles: Titles,
    step_period_s: float,
    actions: ActionType[Any] = END_EFFECTOR_DELTA,
) -> None:
    """Writes a film, whole or not at all: an image before each step, and one after the last that stands still.

    Args:
        path: of the film.
        moments: the start, and what came of each step; at least one.
        record: what was done in these steps.
        titles: what is written into it.
        step_period_s: time from image to image.
        actions: the task's action type, for what is said of a step.
    """
    following = iter(moments)
    now = next(following)
    height, width = _labelled(_even(now.image), "", "", False).shape[:2]
    partial = path.with_name(f".{path.name}.partial.mp4")
    with VideoWriter(partial, (width, height), 1.0 / step_period_s) as video:
        for step, then in enumerate(following):
            line = f"step {step}/{titles.max_steps}  {describe(record, step, actions)}"
            video.write(_labelled(_even(now.image), titles.instruction, line, now.success))
            now = then
        last = _labelled(_even(now.image), titles.instruction, titles.words(), now.success, titles.verdict)
        for _ in range(max(1, round(_STILL_S / step_period_s))):
            video.write(last)
    partial.replace(path)


def steps_worth_seeing(success: Sequence[bool]) -> int:
    """How many steps a film shows: all, or up to shortly after the goal began to hold for good."""
    steps = len(success)
    while steps and success[steps - 1]:
        steps -= 1
    return len(success) if steps == len(success) else min(len(success), steps + 1 + AFTER_SUCCESS_STEPS)


def film_all(
    chosen: Iterable[tuple[Path, EpisodeResult]],
    out: Path,
    rule: SuccessRule,
    factory: Callable[..., Task[Any]],
    complain: Callable[[str], None],
) -> list[Clip]:
    """Films episodes, each given with its run's folder. What is there is kept; what fails is told."""
    from tqdm import tqdm

    out.mkdir(parents=True, exist_ok=True)
    clips: list[Clip] = []
    task: Task[Any] | None = None
    environment = ""
    for folder, result in tqdm(list(chosen), desc="videos", unit="video", file=sys.stderr):
        path = out / f"{result.key.name}-{rule}.mp4"
        if path.exists():
            clips.append(Clip(result, path, faithful=True))
            continue
        try:
            if task is None or environment != result.episode.environment:
                if task is not None:
                    task.close()
                task = factory(result.episode.make, images=True, **result.episode.options)
                environment = result.episode.environment
            record = EpisodeRecord.read(folder / result.record, action_type_of(task))
            clips.append(film(task, result, record, path, rule))
        except Exception as error:
            complain(f"no video of {result.key.name}: {type(error).__name__}: {error}")
            if task is None:
                return clips
    if task is not None:
        task.close()
    return clips


def describe(record: EpisodeRecord, step: int, actions: ActionType[Any] = END_EFFECTOR_DELTA) -> str:
    """What the task is told to do at a step, in words."""
    return actions.described(record.actions, step) if record.commanded[step] else "no command: the policy is late"


def _even(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """H.264 needs even sides."""
    height, width = (side - side % 2 for side in image.shape[:2])
    return image[:height, :width]


def _labelled(
    image: NDArray[np.uint8], instruction: str, line: str, success: bool, verdict: bool | None = None
) -> NDArray[np.uint8]:
    """The image under a dark band with two lines, above all that a player's controls would hide."""
    height, width = image.shape[:2]
    scale = width / 900
    line_height = round(34 * scale)
    band = 2 * line_height + round(16 * scale)
    band += (height + band) % 2
    result = np.vstack([np.full((band, width, 3), 24, dtype=np.uint8), image])
    state = "goal holds" if success else "goal does not hold"
    for index, text in enumerate((instruction, f"{line}  |  {state}")):
        place = (round(12 * scale), line_height * (index + 1))
        cv2.putText(result, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.9 * scale, (255, 255, 255), 1, cv2.LINE_AA)
    colour = (GREEN if success else GREY) if verdict is None else (GREEN if verdict else RED)
    cv2.rectangle(result, (0, band - max(2, round(5 * scale))), (width - 1, band - 1), colour, thickness=-1)
    return result
