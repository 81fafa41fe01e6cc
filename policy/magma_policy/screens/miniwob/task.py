"""One MiniWoB++ page after another in a real browser, as a task of the evaluator.

A page says itself when it is over and what it is worth; its own time limit, made for people, is out of the way. What
stands in the yellow bar above is the instruction; the bar is hidden, so that nobody reads it off the picture.
"""

from __future__ import annotations

import os
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from magma_policy.errors import CommandError
from magma_policy.screens.actions import ScreenAction
from magma_policy.screens.agent import Act
from magma_policy.screens.browser import BrowserError, BrowserSettings, PageBrowser
from magma_policy.screens.candidates import Candidate
from magma_policy.screens.miniwob.action_type import SCREEN_ACTIONS
from magma_policy.screens.miniwob.observation import (
    HEIGHT,
    SCALE,
    SUCCESS_ABOVE,
    WIDTH,
    PageObservation,
    PageSpec,
)
from magma_policy.screens.miniwob.pages import LEARNED, TASKS, most_steps, pages_folder

SETTLE_MS = 100.0
_TIME_LIMIT_MS = 1_000_000
_READY_MS = 10_000
_BEGIN = """([seed, limit]) => {
    Math.seedrandom(seed);
    core.EPISODE_MAX_TIME = limit;
    core.startEpisodeReal();
    window.scrollTo(0, 0);
}"""
_HIDDEN = "#query { visibility: hidden !important } #reward-display { display: none !important }"
"""What is laid out around the bar stays; the page's own scores stand beside it, and focus would scroll to them."""
_STATE = "() => [WOB_DONE_GLOBAL, WOB_RAW_REWARD_GLOBAL, WOB_REWARD_REASON]"

Control = Literal["none", "grey_picture", "shuffled_words", "other_task"]
"""What is taken from a policy, to see what it lives on."""
CONTROLS: tuple[Control, ...] = get_args(Control)


class MiniWobTask:
    """A page of MiniWoB++; see `magma_eval.tasks.Task`.

    Args:
        name: of the page.
        images: whether observations have an image.
        control: what is taken from the policy.
        settle_ms: time that the page is given after each action.
        reload: whether every episode begins with the page loaded anew; without, only the first does, which is quicker
            and leaves the world the same but for what pages remember of earlier ones.

    Raises:
        ValueError: an unknown name or control.
        CommandError: no pages, or no browser.
    """

    action_type = SCREEN_ACTIONS

    def __init__(
        self,
        name: str,
        *,
        images: bool = True,
        control: Control = "none",
        settle_ms: float = SETTLE_MS,
        reload: bool = True,
    ) -> None:
        if name not in TASKS:
            raise ValueError(f"unknown page {name!r}; there are {', '.join(TASKS)}")
        if control not in CONTROLS:
            raise ValueError(f"unknown control {control!r}; it is one of {', '.join(CONTROLS)}")
        self.spec = PageSpec(name, most_steps(name))
        self.notes: tuple[str, ...] = ()
        self._images, self._control, self._reload = images, control, reload
        self._loaded = ""
        self._pages = pages_folder()
        # Chromium has no sandbox as root. These pages come from one wheel known by its hash and reach no network.
        as_root = hasattr(os, "geteuid") and os.geteuid() == 0
        if as_root:
            self.notes = ("as root the browser ran without its sandbox",)
        settings = BrowserSettings(
            folder=self._pages, width=WIDTH, height=HEIGHT, scale=SCALE, sandbox=not as_root, settle_ms=settle_ms
        )
        self._browser = PageBrowser(settings, agree=lambda what, risks: True)
        self._offered: tuple[Candidate, ...] = ()
        self._instruction, self._step = "", 0
        self._stopped = False

    @property
    def browser(self) -> PageBrowser:
        """With the page, for what looks at it otherwise."""
        return self._browser

    def reset(self, variant: Any, layout: int) -> PageObservation:
        """Begins an episode. Variants have seeds of their own: nothing of "random" is ever seen in "eval"."""
        seed = f"magma {variant} {layout}"
        self._step, self._stopped = 0, False
        instruction = ""
        if self._control == "other_task":
            at = LEARNED.index(self.spec.task) if self.spec.task in LEARNED else 0
            self.show(LEARNED[(at + 1 + layout % (len(LEARNED) - 1)) % len(LEARNED)], seed)
            instruction = self.utterance()
        self.show(self.spec.task, seed)
        self._instruction = instruction or self.utterance()
        if self._control == "shuffled_words":
            words = self._instruction.split()
            order = np.random.default_rng(layout).permutation(len(words))
            self._instruction = " ".join(words[place] for place in order)
        return self._observation(render=True)

    def step(self, action: ScreenAction | None, *, render: bool = True) -> PageObservation:
        """Carries an action out; None does nothing. Whoever says that the task is done, or cannot be, ends it."""
        self._step += 1
        refusal = ""
        if not self._stopped and action is not None:
            refusal = self._perform(action)
        return self._observation(render=render, refusal=refusal)

    def show(self, name: str, seed: str) -> None:
        """Begins an episode of a page in this browser: any page, for who looks at many and plays none."""
        page = self._browser.page
        if self._reload or name != self._loaded:
            self._browser.open((self._pages / "miniwob" / f"{name}.html").as_uri())
            page.add_style_tag(content=_HIDDEN)
            self._loaded = name
        page.evaluate(_BEGIN, [seed, _TIME_LIMIT_MS])
        page.wait_for_function("() => WOB_TASK_READY", timeout=_READY_MS)

    def utterance(self) -> str:
        """What the page that is shown asks for."""
        return " ".join(str(self._browser.page.evaluate("() => core.getUtterance()")).split())

    def render_large(self) -> NDArray[np.uint8]:
        """The page, uint8 (H, W, 3) rgb."""
        return self._browser.screenshot()

    def close(self) -> None:
        """Ends the browser."""
        self._browser.close()

    def _perform(self, action: ScreenAction) -> str:
        if action.ends:
            self._stopped = True
            return ""
        if action.mark is None or action.mark >= len(self._offered):
            return f"{action.kind.value} names none of the {len(self._offered)} marks"
        candidate = self._offered[action.mark]
        return self._browser.perform(Act(action, candidate, candidate.centre))

    def _observation(self, *, render: bool, refusal: str = "") -> PageObservation:
        try:
            done, reward, reason = self._browser.page.evaluate(_STATE)
        except BrowserError as error:
            raise CommandError(f"{self.spec.task} has left its page: {error.message.splitlines()[0]}") from error
        self._stopped = self._stopped or bool(done)
        elements = [] if self._stopped else self._browser.elements()
        self._offered = tuple(self._browser.candidates(elements)) if elements else ()
        image = None
        if render and self._images:
            image = self._browser.screenshot()
            if self._control == "grey_picture":
                image = np.full_like(image, 128)
        return PageObservation(
            image,
            self._offered,
            self._step,
            bool(done) and float(reward) > SUCCESS_ABOVE,
            self._stopped,
            self._instruction,
            float(reward),
            str(reason or ""),
            refusal,
            elements,
        )
