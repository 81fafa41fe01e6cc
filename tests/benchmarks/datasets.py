"""How fast a set is read, how large it is, and what films lose.

    python tests/benchmarks/datasets.py SET                  # a set of magma-demos with pictures
    python tests/benchmarks/datasets.py SET --episodes 20

Frames per second of the reader: numbers with pictures, one process, decoded to uint8, from the disk's cache; the same
episodes as PNG inside of parquet and as films, turn about. PSNR of the films against the PNG.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from magma_data import demonstrations
from magma_data.reader import Dataset
from magma_data.videos import CODEC, QUALITY

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--episodes", type=int, default=20)
    given = parser.parse_args()
    there = Dataset(given.set)
    chosen = there.episodes[: given.episodes]
    with tempfile.TemporaryDirectory() as folder:
        kinds = {}
        for kind in ("png", "film"):
            writer = form = None
            for episode in chosen:
                arrays = demonstrations.read_episode(there, episode)
                frames = demonstrations.read_frames(there, episode)
                if frames is None:
                    parser.error(f"{given.set} has no pictures")
                arrays["frames"] = frames
                if writer is None or form is None:
                    objects = arrays["object_positions"].shape[1] if "object_positions" in arrays else 0
                    form = demonstrations.form_of(arrays, objects, video=kind == "film")
                    writer = demonstrations.open_set(Path(folder, kind), form, there.info.fps)
                demonstrations.add_episode(writer, form, episode.name, arrays)
            assert writer is not None
            writer.flush()
            kinds[kind] = Dataset(Path(folder, kind))
        rates: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind, dataset in kinds.items():
                began_s = time.perf_counter()
                frames_read = sum(_read(dataset, number) for number in range(len(chosen)))
                rates[kind].append(frames_read / (time.perf_counter() - began_s))
        for kind, dataset in kinds.items():
            files = [path for path in dataset.folder.rglob("*") if path.suffix in (".parquet", ".mp4")]
            size = sum(path.stat().st_size for path in files) / dataset.info.frames / 1000
            print(f"{kind}: {np.median(rates[kind]):.0f} frames/s, {size:.1f} kB a frame on disk")
        errors = [_squared_error(kinds["png"], kinds["film"], number) for number in range(len(chosen))]
        decibels = 10.0 * np.log10(255.0**2 / np.array(errors))
        print(
            f"PSNR of {CODEC} at crf {QUALITY}: mean {decibels.mean():.1f} dB, lowest episode {decibels.min():.1f} dB "
            f"(n = {len(chosen)} episodes, {sum(episode.length for episode in chosen)} frames)"
        )


def _read(dataset: Dataset, number: int) -> int:
    episode = dataset.episodes[number]
    demonstrations.read_episode(dataset, episode)
    frames = demonstrations.read_frames(dataset, episode)
    assert frames is not None
    return len(frames)


def _squared_error(one: Dataset, other: Dataset, number: int) -> float:
    first, second = (demonstrations.read_frames(dataset, dataset.episodes[number]) for dataset in (one, other))
    assert first is not None and second is not None
    return float(((first.astype(np.float64) - second) ** 2).mean())


if __name__ == "__main__":
    main()
