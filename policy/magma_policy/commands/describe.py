"""`magma-describe picture.png`: a caption whose phrases have places."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from magma_contracts.grounding import GroundedText
from magma_policy.commands.options import run_command
from magma_policy.commands.pointing import PointingOptions, asked, pixel_box, plain
from magma_policy.files.image_files import described, read_image


@dataclass(frozen=True)
class DescribeConfig(PointingOptions):
    """Print a description of a picture, and where what it names is."""

    picture: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE")]
    """Picture file."""
    detailed: bool = False
    """A longer description."""
    question: str | None = None
    """Answer this question instead."""


def main() -> None:
    """Entry point."""
    sys.exit(run_command("magma-describe", lambda: describe(tyro.cli(DescribeConfig, prog="magma-describe"))))


def describe(config: DescribeConfig) -> int:
    """Asks and prints. Raises CommandError."""
    image = read_image(config.picture)
    print(f"{config.picture}: {described(image)}", file=sys.stderr)
    model, question = config.load(), config.question
    if question is not None:
        found = asked(lambda: model.answer(image, question))
    else:
        found = asked(lambda: model.describe(image, detailed=config.detailed))
    tell(config, image, found)
    return 0


def tell(config: PointingOptions, image: np.ndarray, found: GroundedText) -> None:
    """Prints a text and where what it names is, and draws it if that was asked for."""
    if config.json:
        entities = [
            {"phrase": one.phrase, "span": one.span, "boxes": plain(one.boxes), "confidences": plain(one.confidences)}
            for one in found.entities
        ]
        print(json.dumps({"text": found.text, "entities": entities, "malformed": found.malformed}))
    else:
        print(found.text or "(the model said nothing)")
        for one in found.entities:
            for box, sure in zip(one.boxes, one.confidences, strict=True):
                print(f"  {one.phrase or '(no words)'}: {pixel_box(box, image)}  confidence {sure:.2f}")
        if found.malformed:
            print(f"  ({found.malformed} place(s) that the model named are none)", file=sys.stderr)
    boxes = [one.boxes for one in found.entities]
    names = [one.phrase for one in found.entities for _ in one.boxes]
    config.save_drawing(image, np.concatenate(boxes) if boxes else np.empty((0, 4)), names)


if __name__ == "__main__":
    main()
