"""`magma-refer picture.png 120,80`: what stands at a place of a picture, in words that lead back to it."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from magma_contracts.boxes import in_fractions
from magma_policy.commands.options import run_command
from magma_policy.commands.pointing import PointingOptions, asked, pixel_box, plain
from magma_policy.errors import CommandError
from magma_policy.files.image_files import described, read_image


@dataclass(frozen=True)
class ReferConfig(PointingOptions):
    """Print what stands at a place of a picture. The name is only given when it leads back to the place."""

    picture: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE")]
    """Picture file."""
    place: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="X,Y | X1,Y1,X2,Y2")]
    """A point or a box in pixels."""


def main() -> None:
    """Entry point."""
    sys.exit(run_command("magma-refer", lambda: refer(tyro.cli(ReferConfig, prog="magma-refer"))))


def refer(config: ReferConfig) -> int:
    """Asks and prints. Raises CommandError."""
    image = read_image(config.picture)
    print(f"{config.picture}: {described(image)}", file=sys.stderr)
    place = _place(config.place, image)
    model = config.load()
    found = asked(lambda: model.name(image, place))
    if config.json:
        said = {"phrase": found.phrase, "box": plain(found.box), "agreement": round(found.agreement, 6)}
        print(json.dumps(said | {"confidence": round(found.confidence, 6), "presence": round(found.presence, 6)}))
    else:
        print(f"{found.phrase}\n  {pixel_box(found.box, image)}  confidence {found.confidence:.2f}")
        print(f"  leads back to the place: overlap {found.agreement:.2f}")
    config.save_drawing(image, found.box, [found.phrase])
    return 0


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
