"""`magma-browse URL "task" --policy CHECKPOINT`: a policy does a task on a web page, step by step, and asks a person
before it pays, sends, deletes, submits, types a secret or leaves the address.

magma-browse https://example.org "open the page about opening hours" --policy microsoft/Magma-8B --out visit
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import check_folder
from magma_contracts.text import escaped, printable
from magma_policy.commands.options import LoadOptions, run_command
from magma_policy.errors import CommandError, GenerationError, InstructionError, ObservationError, ScreenError
from magma_policy.files.image_files import write_image
from magma_policy.marks.drawing import draw_point_marks
from magma_policy.screens.agent import Act, AskAgain, Question, ScreenAgent, Stop

Answer = Callable[[Question], str]
STEPS = "steps.jsonl"


@dataclass(frozen=True)
class BrowseConfig(LoadOptions):
    """Let a policy do a task on a web page. Each step is printed; Ctrl-C ends it.

    The browser starts with an empty profile and may go to the page's own address only. Before it pays, sends, deletes,
    submits or types a secret, or goes anywhere else, you are asked; without a terminal the answer is no.
    """

    url: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="URL")]
    """Where it begins, such as https://example.org."""
    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """What is to be done, in words."""
    policy: str
    """Folder of a checkpoint, or owner/name on the Hugging Face Hub."""
    allow: Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint="(default: none)")] = ()
    """Further addresses that may be visited."""
    folder: Path | None = None
    """A folder whose files may be opened as pages (file://…)."""
    out: Path | None = None
    """Where each step is kept: the picture as the model saw it, and a line of JSON in steps.jsonl."""
    steps: int = 30
    """Actions at most."""
    width: int = 1280
    """Of the page in CSS pixels."""
    height: int = 800
    """Of the page in CSS pixels."""
    scale: float = 1.0
    """Pixels of the picture per CSS pixel."""
    sandbox: bool = True
    """Chromium's own sandbox. It cannot be had as root."""
    browser: Path | None = None
    """The browser's program; chromium, as the system has it, when not given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.steps <= 1000:
            raise ConfigError(f"--steps must be from 1 to 1000, got {self.steps}")


def main() -> None:
    """Entry point."""
    sys.exit(run_command("magma-browse", lambda: browse(tyro.cli(BrowseConfig))))


def browse(config: BrowseConfig) -> int:
    """Does the task. 0 when the model says that it is complete, 3 when it was given up. Raises CommandError."""
    if config.out is not None:
        check_folder(config.out, "--out")
        if (config.out / STEPS).exists():
            raise CommandError(f"--out {config.out} holds a visit already; give another folder")
    try:
        agent = ScreenAgent(config.task, most_steps=config.steps)
    except InstructionError as error:
        raise CommandError(str(error)) from error
    from magma_policy.screens.browser import BrowserSettings, PageBrowser

    try:
        settings = BrowserSettings(
            allowed=tuple(address for address in (config.url, *config.allow) if not address.startswith("file:")),
            folder=config.folder,
            width=config.width,
            height=config.height,
            scale=config.scale,
            sandbox=config.sandbox,
            executable=config.browser,
        )
        print(f"loading {config.policy} …", file=sys.stderr, flush=True)
        policy = config.load_text_model(config.policy)
        with PageBrowser(settings, ask_person) as browser:
            browser.open(config.url)
            end = play(agent, browser, lambda question: policy.chat(question.words, [question.image]).text, config.out)
    except (ScreenError, GenerationError, ObservationError, InstructionError) as error:
        raise CommandError(str(error)) from error
    print(escaped(f"{'complete' if end.complete else 'given up'}: {end.reason}"))
    return 0 if end.complete else 3


def play(agent: ScreenAgent, browser: Any, answer: Answer, out: Path | None = None) -> Stop:
    """The loop: view, question, answer, action.

    Args:
        agent: with the task.
        browser: a `PageBrowser` at the first page.
        answer: the model.
        out: folder for pictures and lines, or None.
    """
    step = 0
    while True:
        view = browser.view()
        question = agent.ask(view)
        if isinstance(question, Stop):
            return question
        said = answer(question)
        decision = agent.decide(said)
        outcome = ""
        if isinstance(decision, Act):
            outcome = browser.perform(decision)
            if outcome:
                what, decision = decision, agent.refuse(outcome)
            else:
                agent.done(decision)
                what = decision
        else:
            what = None
        refused = browser.refused()
        line = {
            "step": step,
            "address": view.address,
            "marks": len(question.candidates),
            "answer": said,
            "action": agent.history[-1] if what is not None and not outcome else None,
            "refusal": outcome or (decision.reason if isinstance(decision, AskAgain) else None),
            "page_was_refused": refused,
        }
        _tell(line)
        if out is not None:
            _keep(out, line, question, what)
        if isinstance(decision, Stop):
            return decision
        step += 1


def ask_person(what: str, risks: Mapping[Any, str]) -> bool:
    """Asks in the terminal; no when there is none, or no clear yes comes."""
    reasons = "; ".join(f"this may {risk.value}: {why}" for risk, why in risks.items())
    print(escaped(f"{what}\n  {reasons}", kept="\n"), file=sys.stderr)
    if not sys.stdin.isatty():
        print("  nobody can be asked, so it is not done", file=sys.stderr)
        return False
    try:
        return input("  do it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _tell(line: Mapping[str, Any]) -> None:
    done = line["action"] or (f"refused: {line['refusal']}" if line["refusal"] else printable(line["answer"], 100))
    print(escaped(f"{line['step']}: {done}   ({line['marks']} marks, {printable(line['address'], 80)})"), flush=True)
    for what in line["page_was_refused"]:
        print(escaped(f"   the page: {what}"), file=sys.stderr)


def _keep(out: Path, line: Mapping[str, Any], question: Question, act: Act | None) -> None:
    out.mkdir(parents=True, exist_ok=True)
    picture: np.ndarray = question.image
    if act is not None and act.point is not None:
        x, y = act.point
        picture = draw_point_marks(picture, {line["step"]: (x - question.corner[0], y - question.corner[1])})
    write_image(out / f"step-{line['step']:03d}.png", picture)
    with (out / STEPS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
