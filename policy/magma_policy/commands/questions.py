"""`magma-questions`: questions about rendered scenes with their answers, as rows to learn from.

magma-scenes --out scenes-train --split train --scenes 2000
magma-questions scenes-train --out questions-train
magma-train --recipe chat --conversations questions-train/questions.json --output runs/chat
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import check_folder
from magma_contracts.scenes import Split
from magma_policy.commands.options import run_command
from magma_policy.errors import CommandError
from magma_policy.files.image_files import write_image
from magma_policy.files.whole_files import whole_file
from magma_policy.grounding.scene_questions import SceneQuestions
from magma_policy.grounding.scenes import SceneError, read_scenes
from magma_policy.marks.set_of_mark import brief_question

QUESTIONS, IMAGES = "questions.json", "images"


@dataclass(frozen=True)
class QuestionsConfig:
    """Ask about rendered scenes what the simulator knows: which, where, what colour, how many, left of, yes or no.

    The rows have the form of Magma-SFT-820K, one conversation for each question, and the pictures lie beside them. The
    same scenes and seed give the same rows.
    """

    scenes: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="(required)")]
    """Sets of scenes (folders of `magma-scenes`), all of one split."""
    out: Path
    """Folder for questions.json and the pictures."""
    split: Split = "train"
    """What the scenes are for."""
    per_scene: int = 6
    """Questions about each scene, at most."""
    limit: int = 0
    """Only the first so many scenes; 0 = all."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.scenes:
            raise ConfigError("give at least one set of scenes")
        for name, low, high in (("per_scene", 1, 100), ("limit", 0, 10**9), ("seed", 0, 2**63 - 1)):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"--{name.replace('_', '-')} must be from {low} to {high}, got {getattr(self, name)}")


def main() -> None:
    """Entry point."""
    sys.exit(run_command("magma-questions", lambda: write_questions(tyro.cli(QuestionsConfig))))


def write_questions(config: QuestionsConfig) -> int:
    """Writes pictures and rows, the rows last. Raises CommandError."""
    check_folder(config.out, "--out")
    try:
        scenes = read_scenes(config.scenes, config.split)
    except SceneError as error:
        raise CommandError(str(error)) from error
    questions = SceneQuestions(scenes.names)
    count = min(config.limit or len(scenes), len(scenes))
    (config.out / IMAGES).mkdir(parents=True, exist_ok=True)
    rows = []
    kinds: dict[str, int] = {}
    for number in range(count):
        name = f"{IMAGES}/{number:07d}.png"
        rng = np.random.default_rng([config.seed, number])
        asked = questions.draw(scenes.scenes[number], config.per_scene, rng)
        if asked:
            write_image(config.out / name, scenes.images[number])
        for place, one in enumerate(asked):
            kinds[one.kind] = kinds.get(one.kind, 0) + 1
            turns = [
                {"from": "human", "value": f"<image>\n{brief_question(one.question)}"},
                {"from": "gpt", "value": one.answer},
            ]
            rows.append({"id": f"{number:07d}-{place}", "image": name, "kind": one.kind, "conversations": turns})
    with whole_file(config.out / QUESTIONS) as partial:
        partial.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    told = ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items()))
    print(f"{len(rows)} questions about {count} scenes ({told}): {config.out / QUESTIONS}")
    return 0


if __name__ == "__main__":
    main()
