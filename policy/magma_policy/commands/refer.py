"""`magma-refer picture.png 120,80`: what stands at a place of a picture, in words that lead back to it."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from magma_contracts.errors import ConfigError
from magma_contracts.geometry.boxes import in_fractions
from magma_contracts.text import brief
from magma_policy.commands.describe import tell
from magma_policy.commands.options import run_command
from magma_policy.commands.pointing import PointingOptions, asked, pixel_box, plain
from magma_policy.errors import CommandError
from magma_policy.files.image_files import described, read_image
from magma_policy.grounding.by_example import ByExample
from magma_policy.grounding.clicks import click_square, name_place
from magma_policy.grounding.local_pointer import LocalPointer

if TYPE_CHECKING:
    from magma_contracts.grounding import Pointer
    from magma_policy.families.kosmos2 import Kosmos2

_PLACE_WORD = re.compile(r"\b(?:it|this (?:object|thing)|the (?:object|thing)|this)\b", re.IGNORECASE)


@dataclass(frozen=True)
class ReferConfig(PointingOptions):
    """Print what stands at a place of a picture. The name is only given when it leads back to the place."""

    picture: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE")]
    """Picture file."""
    place: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="X,Y | X1,Y1,X2,Y2")]
    """A point or a box in pixels."""
    example: Annotated[
        tuple[tuple[Path, str, str], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="PICTURE X,Y|X1,Y1,X2,Y2 NAME"),
    ] = ()
    """A place of another picture and what it is called; may be given several times. The model is shown all of them
    first and names in their way (few-shot)."""
    question: str | None = None
    """Answer this question about the place, which it calls "it" or "this": "What is it next to?"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.question is not None and self.example:
            raise ConfigError("--question and --example do not go together: examples are of names")


def main() -> None:
    """Entry point."""
    sys.exit(run_command("magma-refer", lambda: refer(tyro.cli(ReferConfig, prog="magma-refer"))))


def refer(config: ReferConfig) -> int:
    """Asks and prints. Raises CommandError."""
    image = read_image(config.picture)
    print(f"{config.picture}: {described(image)}", file=sys.stderr)
    place = _place(config.place, image)
    shown = [(read_image(picture), where, name) for picture, where, name in config.example]
    examples = [(other, _box(_place(where, other)), name) for other, where, name in shown]
    question = None if config.question is None else _about(config.question)
    model = config.load()
    if question is not None:
        before, word, behind = question
        from magma_policy.families.kosmos2 import Mention

        grounder = _here(model, "--question")
        mention = Mention(word, _box(place))
        tell(config, image, asked(lambda: grounder.answer(image, [before, mention, behind])))
        return 0
    if examples:
        from magma_policy.families.kosmos2 import Example

        told = [(other, Example(box, name)) for other, box, name in examples]
        taught = ByExample(_here(model, "--example"), told)
        found = asked(lambda: name_place(taught, image, place))
    else:
        found = asked(lambda: model.name(image, place))
    if config.json:
        said = {"phrase": found.phrase, "box": plain(found.box), "agreement": round(found.agreement, 6)}
        print(json.dumps(said | {"confidence": round(found.confidence, 6), "presence": round(found.presence, 6)}))
    else:
        print(f"{found.phrase}\n  {pixel_box(found.box, image)}  confidence {found.confidence:.2f}")
        print(f"  leads back to the place: overlap {found.agreement:.2f}")
    config.save_drawing(image, found.box, [found.phrase])
    return 0


def _here(model: Pointer, option: str) -> Kosmos2:
    """The model itself, in this process."""
    from magma_policy.families.kosmos2 import Kosmos2

    grounder = model.grounder if isinstance(model, LocalPointer) else None
    if not isinstance(grounder, Kosmos2):
        raise CommandError(f"{option} is not asked of a server; give --checkpoint the folder of a checkpoint")
    return grounder


def _about(question: str) -> tuple[str, str, str]:
    """A question cut at the word that means the place: what stands before it, the word, what stands behind it."""
    found = _PLACE_WORD.search(question)
    if found is None:
        raise CommandError(
            f'--question must call the place "it" or "this", as in "What is it next to?", got {brief(question)}'
        )
    return question[: found.start()].rstrip(), found.group(), question[found.end() :].lstrip()


def _box(place: np.ndarray) -> np.ndarray:
    """A place (4,) as a box, which for a point is the square round it."""
    if np.array_equal(place[:2], place[2:]):
        return asked(lambda: click_square(float(place[0]), float(place[1])))
    return place


def _place(text: str, image: np.ndarray) -> np.ndarray:
    """A place (4,) in fractions of the picture; a point is a box without area."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (2, 4) or not all(map(math.isfinite, values)):
        raise CommandError(f"the place must be x,y or x1,y1,x2,y2 in pixels, got {text!r}")
    height, width = image.shape[:2]
    return in_fractions(np.tile(values, 4 // len(values)), width, height)


if __name__ == "__main__":
    main()
