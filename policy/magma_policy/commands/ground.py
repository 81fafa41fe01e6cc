"""`magma-ground picture.png "the carrot" "the plate"`: where phrases are in a picture."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from magma_contracts.errors import ConfigError
from magma_contracts.grounding import Grounding, Which
from magma_contracts.text import printable
from magma_policy.commands.options import run_command
from magma_policy.commands.pointing import PointingOptions, asked, pixel_box, plain
from magma_policy.files.image_files import described, read_image


@dataclass(frozen=True)
class GroundConfig(PointingOptions):
    """Print where phrases are in a picture."""

    picture: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE")]
    """Picture file."""
    phrases: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PHRASE [PHRASE …]", help_behavior_hint="(required)"),
    ]
    """What to look for, such as "the carrot on the left"."""
    which: Which = "one"
    """one: the best place of each phrase. several: the places that the model lists itself. all: every place that it may
    mean; how many there are is not counted reliably."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.phrases:
            raise ConfigError('what is looked for? magma-ground picture.png "the carrot"')


def main() -> None:
    """Entry point."""
    sys.exit(run_command("magma-ground", lambda: ground(tyro.cli(GroundConfig, prog="magma-ground"))))


def ground(config: GroundConfig) -> int:
    """Asks and prints. Raises CommandError."""
    image = read_image(config.picture)
    print(f"{config.picture}: {described(image)}", file=sys.stderr)
    model = config.load()
    found = asked(lambda: model.ground(image, config.phrases, config.which))
    if config.json:
        print(json.dumps([_as_json(each) for each in found]))
    else:
        for each in found:
            print(f"{printable(each.phrase)}: {len(each.boxes) or 'no'} place(s), presence {each.presence:.2f}")
            for box, sure in zip(each.boxes, each.confidences, strict=True):
                print(f"  {pixel_box(box, image)}  confidence {sure:.2f}")
    names = [each.phrase for each in found for _ in each.boxes]
    config.save_drawing(image, np.concatenate([each.boxes for each in found]), names)
    return 0


def _as_json(found: Grounding) -> dict[str, object]:
    return {
        "phrase": found.phrase,
        "boxes": plain(found.boxes),
        "confidences": plain(found.confidences),
        "presence": round(found.presence, 6),
    }


if __name__ == "__main__":
    main()
