"""`magma-screen-demos OUT`: scripts solve small web pages, and every step becomes a row that `magma-train --recipe
screens` learns from.

magma-screen-demos demos/train --episodes 300
magma-screen-demos demos/validation --split validation --episodes 20
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import check_folder
from magma_policy.commands.options import run_command
from magma_policy.errors import CommandError, ScreenError
from magma_policy.files.image_files import write_image
from magma_policy.files.json_files import read_object
from magma_policy.files.stored_settings import differences
from magma_policy.screens.agent import Form
from magma_policy.screens.miniwob.pages import LEARNED
from magma_policy.screens.rows import ROWS, Row, append_marks, append_rows, read_rows

PICTURES = "pictures"
SETTINGS = "demos.json"
"""Beside the rows: what all rows of a set have in common, and their ids do not tell."""


@dataclass(frozen=True)
class ScreenDemosConfig:
    """Plays scripts on the pages of MiniWoB++ in a browser and keeps what they did. The same command goes on with a set
    that is not finished."""

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder of the set."""
    tasks: tuple[str, ...] = LEARNED
    """Pages."""
    episodes: int = 300
    """Of each page."""
    first: int = 0
    """Number of the first."""
    others: int = 6
    """Further questions at most about an episode's first picture: what the page could have asked just as well."""
    form: Literal["click", "click_text"] = "click"
    """What a row asks: click, the marks on the picture and the task alone; click_text, the text of every mark too."""
    split: Literal["train", "validation"] = "train"
    """Each has pages of its own, and neither has any that a suite plays."""

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.first < 0 or self.others < 0:
            got = f"{self.episodes}, {self.first} and {self.others}"
            raise ConfigError(f"--episodes is at least 1, --first and --others at least 0, got {got}")
        if unknown := [name for name in self.tasks if name not in LEARNED]:
            raise ConfigError(f"there is no script for {', '.join(unknown)}; there are {', '.join(LEARNED)}")


def main() -> None:
    """Entry point."""
    sys.exit(run_command("magma-screen-demos", lambda: make(tyro.cli(ScreenDemosConfig))))


def make(config: ScreenDemosConfig) -> int:
    """Makes the set; 0. Raises CommandError."""
    check_folder(config.out, "--out")
    (config.out / PICTURES).mkdir(parents=True, exist_ok=True)
    there = _made(config.out)
    _keep_settings(config, begun=bool(there))
    try:
        from magma_policy.screens.miniwob.demonstrations import Demonstrator
    except ModuleNotFoundError as error:
        raise CommandError(f"{error}: pages need Playwright; run ./run setup screens") from error
    for task in config.tasks:
        names = {
            f"{task}-{config.split}-{number}": number for number in range(config.first, config.first + config.episodes)
        }
        missing = {name: number for name, number in names.items() if name not in there}
        if not missing:
            continue
        unsolved = 0
        with Demonstrator(task, config.others, Form(config.form)) as demonstrator:
            for name, number in missing.items():
                steps = demonstrator.play(config.split, number)
                unsolved += steps is None
                rows = []
                for step, shown in enumerate(steps or ()):
                    image = f"{PICTURES}/{name}-{step}.png"
                    write_image(config.out / image, shown.image)
                    append_marks(config.out, image, shown.marks)
                    for place, (question, answer) in enumerate(shown.asked):
                        rows.append(Row(f"{name}-{step}.{place}", image, question, answer))
                if rows:
                    append_rows(config.out, rows)
        print(
            f"{task}: {len(missing) - unsolved} episodes, {unsolved} that the script did not solve left out", flush=True
        )
    return 0


def _keep_settings(config: ScreenDemosConfig, begun: bool) -> None:
    """Writes the settings of a new set down. Raises CommandError where those of one that was begun are others, or are
    not known: its pages would be asked about unequally, and nothing would tell."""
    path = config.out / SETTINGS
    mine = {"others": config.others, "form": config.form}
    if not path.is_file() and begun:
        raise CommandError(
            f"{config.out} holds rows but no {SETTINGS}, so nothing says how they were made; give a new OUT"
        )
    if path.is_file():
        try:
            different = differences(read_object(path), mine)
        except ConfigError as error:
            raise CommandError(f"{error}; give a new OUT") from error
        if different:
            raise CommandError(f"{path} is of a set made with other settings ({different}); give a new OUT")
        return
    path.write_text(json.dumps(mine) + "\n", encoding="utf-8")


def _made(folder: Path) -> set[str]:
    """The names of the episodes that a set holds: of its rows' ids all but the step and the question's number."""
    path = folder / ROWS
    if not path.is_file() or path.stat().st_size == 0:
        return set()
    try:
        return {row.id.rpartition("-")[0] for _, row in read_rows([folder])}
    except ScreenError as error:
        raise CommandError(str(error)) from error


if __name__ == "__main__":
    main()
