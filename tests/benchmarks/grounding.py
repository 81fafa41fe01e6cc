"""How well a model points, on scenes of both simulators that nothing was learned from.

    magma-scenes --out scenes/tabletop-test --split test --scenes 400
    magma-scenes --out scenes/bridge-test --split test --scenes 400 --simulator simpler-bridge
    python tests/benchmarks/grounding.py --scenes scenes/tabletop-test scenes/bridge-test --checkpoint kosmos-tiny \
        --clicks --draw drawn

Every thing that words can tell from the others is asked for by its shortest expression, named from its box, and with
--clicks clicked on at a random visible point; in every scene two things are asked for that are not there. Whether a
name is right is decided by the scene's truth. Beside the boxes' overlap stands the ceiling of the code: what the right
cells would give. --draw saves sheets of answers, and of those that went wrong. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from magma_contracts.geometry.boxes import in_pixels, overlap
from magma_contracts.grounding import Grounder
from magma_eval.confidence_intervals import Rate
from magma_policy.families import registry
from magma_policy.families.kosmos2.locations import decode_cells, encode_boxes
from magma_policy.files.image_files import resize, write_image
from magma_policy.grounding.clicks import SAME
from magma_policy.grounding.evaluation import Count, Tally, evaluate
from magma_policy.grounding.expressions import expressions
from magma_policy.grounding.scenes import Scenes, read_scenes
from magma_policy.marks.drawing import draw_named_boxes
from magma_policy_client.checkpoint_paths import find_checkpoint

COLUMNS, ROWS, ZOOM = 4, 4, 2
TIMED = 40


def told(count: Count) -> str:
    """A rate with its interval and counts."""
    if not count.all:
        return "none"
    low, high = Rate(count.right, count.all).interval
    return f"{count.percent:5.1f} % [{100 * low:.1f}, {100 * high:.1f}] ({count.right} of {count.all})"


def ceiling(tally: Tally) -> tuple[float, Count]:
    """Mean overlap that the right cells would have, and how many of these would count as found."""
    boxes = np.array(tally.boxes)
    back = decode_cells(encode_boxes(boxes))
    best = [float(overlap(box, [other])[0]) for box, other in zip(boxes, back, strict=True)]
    return float(np.mean(best)), Count(sum(value >= SAME for value in best), len(best))


def report(name: str, tally: Tally) -> None:
    """Prints what was counted on a set."""
    mean, found = ceiling(tally)
    print(f"\n{name}")
    print(f"  phrase to box, overlap >= 0.5      {told(tally.found)}   ceiling {told(found)}")
    print(f"  … of those with a word of place    {told(tally.found_by_place)}")
    print(f"  mean overlap                       {tally.mean_overlap:.3f}   ceiling {mean:.3f}")
    print(f"  box to name, by the scene's truth  {told(tally.named)}")
    print(f"  … of those that need a place       {told(tally.named_by_place)}")
    print(f"  … that say one which is not needed {told(tally.needless)}")
    print(f"  … names that lead back             {told(tally.led_back)}")
    print(f"  click to name                      {told(tally.clicked)}")
    print(f"  … that say a place without need    {told(tally.needless_clicked)}")
    print(f"  absent things refused              {told(tally.refused)}")
    print(f"  present things refused             {told(tally.falsely_refused)}")


def timings(model: Grounder, scenes: Scenes, rows: np.ndarray) -> None:
    """Prints milliseconds per answer, each about a picture that was not seen before."""
    taken: dict[str, list[float]] = {"a phrase found": [], "a box named": [], "both, the picture known": []}
    for row in rows[:TIMED]:
        things = scenes.scenes[row].things
        if not things or not (every := expressions(things, 0)):
            continue
        image, box = scenes.images[row], np.array(things[0].box)
        other = image.copy()
        other[0, 0] ^= 1
        begin = time.perf_counter()
        model.ground(image, every[:1])
        first = time.perf_counter()
        model.refer(other, box)
        second = time.perf_counter()
        model.ground(image, every[:1])
        model.refer(image, box)
        taken["a phrase found"].append(first - begin)
        taken["a box named"].append(second - first)
        taken["both, the picture known"].append(time.perf_counter() - second)
    for what, seconds in taken.items():
        found = 1e3 * np.array(seconds)
        print(f"  {what:25s} median {np.median(found):.1f} ms, 95th percentile {np.percentile(found, 95):.1f} ms")


def sheet(model: Grounder, scenes: Scenes, rows: list[int], asked: dict[int, list[str]], path: Path) -> None:
    """Saves pictures with what the model finds for phrases, and its names for the boxes, side by side."""
    tiles = []
    for row in rows[: COLUMNS * ROWS]:
        image = scenes.images[row]
        large = resize(image, ZOOM * image.shape[1], ZOOM * image.shape[0])
        found = model.ground(image, asked[row]) if asked[row] else []
        kept = [one for one in found if one.presence >= 0.5]
        boxes = [one.boxes[0] for one in kept]
        names = [one.phrase.removeprefix("the ") for one in kept]
        pixels = in_pixels(np.array(boxes).reshape(-1, 4), large.shape[1], large.shape[0])
        tiles.append(draw_named_boxes(large, pixels, names))
    while len(tiles) % COLUMNS:
        tiles.append(np.zeros_like(tiles[0]))
    if tiles:
        lines = [np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)]
        write_image(path, np.concatenate(lines))


def draw(model: Grounder, scenes: Scenes, rows: np.ndarray, tally: Tally, folder: Path, name: str) -> None:
    """Saves a sheet of the first scenes and one of those in which something went wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    first = rows[: COLUMNS * ROWS].tolist()
    every = {
        row: [
            each[0]
            for i in range(len(scenes.scenes[row].things))
            if (each := expressions(scenes.scenes[row].things, i))
        ]
        for row in first
    }
    sheet(model, scenes, first, every, folder / f"{name}.png")
    failed: dict[int, list[str]] = {}
    for row, what, asked, answered in tally.failures:
        print(f"  wrong: scene {row}, {what} {asked!r}: {answered!r}")
        if what in ("find", "present", "absent"):
            failed.setdefault(row, []).append(asked)
    sheet(model, scenes, list(failed), failed, folder / f"{name}-wrong.png")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, nargs="+", required=True)
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="what the sets were made for")
    parser.add_argument("--checkpoint", default="kosmos-tiny")
    parser.add_argument("--first", type=int, default=0, help="number of the first scene of each set")
    parser.add_argument("--limit", type=int, default=1_000_000, help="scenes of each set")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clicks", action="store_true", help="click on everything, too")
    parser.add_argument("--draw", type=Path, help="folder for pictures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = registry.load_grounder(find_checkpoint(options.checkpoint), "cpu", None)
    sets = {folder.name: read_scenes([folder], options.split) for folder in options.scenes}
    names = sorted({name for scenes in sets.values() for name in scenes.names})
    for name, scenes in sets.items():
        rows = np.arange(options.first, min(options.first + options.limit, len(scenes)))
        tally = evaluate(model, scenes, rows, names, clicks=options.clicks)
        report(f"{name}: {len(rows)} scenes from number {options.first} on", tally)
        timings(model, scenes, rows)
        if options.draw is not None:
            draw(model, scenes, rows, tally, options.draw, name)


if __name__ == "__main__":
    main()
