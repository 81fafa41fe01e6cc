"""Whether lerobot itself loads and iterates the sets that are written here, and whether its own are read here.

    python tests/benchmarks/lerobot_library.py SET --lerobot /path/of/lerobot-env/bin/python

lerobot's pins exclude this project's torch, so it lives in an environment of its own, which no test needs:

    python3 -m venv lerobot-env && lerobot-env/bin/pip install 'lerobot>=0.4.4,<0.5'

What lerobot gives of SET is compared with what `magma_data` reads of it, then lerobot writes a set of two cameras (PNG
and a film) that is read here. One line for each, status 1 where they differ.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from magma_data.reader import Dataset

# lerobot imports torchvision for what its datasets do not use. On a CPU build of torch the index's torchvision has no
# operators of its own, and would not be imported for that.
LENIENT = """
import torch
register = torch.library.register_fake
def lenient(name, *rest, **more):
    def decorate(function):
        try:
            return register(name, *rest, **more)(function)
        except RuntimeError:
            return function
    return decorate
torch.library.register_fake = lenient
import torchvision
torch.library.register_fake = register
import sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
"""
LOAD = """
dataset = LeRobotDataset("local/set", root=sys.argv[1], video_backend="pyav")
items = [dataset[index] for index in range(len(dataset))]
numbers = [name for name, feature in dataset.features.items() if feature["dtype"] not in ("image", "video", "string")]
arrays = {name: np.stack([np.asarray(item[name]) for item in items]) for name in numbers}
for camera in dataset.meta.camera_keys:
    arrays[camera] = np.stack([(item[camera].numpy() * 255).round().astype(np.uint8) for item in items])
arrays["task"] = np.array([item["task"] for item in items])
np.savez(sys.argv[2], **{name.replace("/", "|"): array for name, array in arrays.items()})
"""
WRITE = """
pictured = {"shape": (48, 64, 3), "names": ["height", "width", "channels"]}
features = {
    "observation.images.front": {"dtype": "image", **pictured},
    "observation.images.wrist": {"dtype": "video", **pictured},
    "observation.state": {"dtype": "float32", "shape": (7,), "names": list("xyzrpqg")},
    "action": {"dtype": "float32", "shape": (7,), "names": list("xyzrpqg")},
}
dataset = LeRobotDataset.create("local/other", 15, features=features, root=sys.argv[1], robot_type="droid")
for episode in range(3):
    for step in range(8 + episode):
        dataset.add_frame({
            "observation.images.front": np.full((48, 64, 3), 20 * step + episode, np.uint8),
            "observation.images.wrist": np.full((48, 64, 3), 20 * step, np.uint8),
            "observation.state": np.full(7, step, np.float32), "action": np.full(7, step + episode, np.float32),
            "task": f"task {episode % 2}",
        })
    dataset.save_episode()
dataset.finalize()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--lerobot", required=True, help="Python of an environment that has lerobot")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _run(given.lerobot, LOAD, given.set.resolve(), Path(folder, "loaded.npz"))
        with np.load(Path(folder, "loaded.npz")) as loaded:
            wrong = _differences(Dataset(given.set), loaded)
        print(f"lerobot loads {given.set}: {wrong or 'every number and picture as written'}")
        _run(given.lerobot, WRITE, Path(folder, "other"))
        wrong_too = _read_theirs(Dataset(Path(folder, "other")))
        print(f"what lerobot writes is read here: {wrong_too or 'every number and picture as it was given'}")
    return int(bool(wrong or wrong_too))


def _run(python: str, code: str, *arguments: Path) -> None:
    subprocess.run(
        [python, "-W", "ignore", "-c", LENIENT + code, *map(str, arguments)], check=True, stderr=subprocess.DEVNULL
    )


def _differences(dataset: Dataset, loaded: np.lib.npyio.NpzFile) -> str:
    for episode in dataset.episodes:
        begin = sum(one.length for one in dataset.episodes[: episode.index])
        rows = slice(begin, begin + episode.length)
        names = [n for n, f in dataset.info.features.items() if not f.pictured and f.dtype != "string"]
        for name, array in dataset.read(episode, names).items():
            theirs = loaded[name][rows].reshape(array.shape)
            if not np.array_equal(array, theirs.astype(array.dtype), equal_nan=array.dtype.kind == "f"):
                return f"{name} of episode {episode.index} differs"
        for camera in dataset.info.cameras:
            ours = np.stack([*dataset.pictures(episode, camera)])
            off = np.abs(ours.astype(int) - loaded[camera][rows].transpose(0, 2, 3, 1)).max()
            # Each converts the colours of a film on its own.
            if off > (0 if dataset.info.features[camera].dtype == "image" else 3):
                return f"{camera} of episode {episode.index} differs by {off}"
        if set(loaded["task"][rows].tolist()) != set(episode.tasks):
            return f"the instruction of episode {episode.index} differs"
    return ""


def _read_theirs(dataset: Dataset) -> str:
    for episode in dataset.episodes:
        steps = np.arange(8 + episode.index)
        found = dataset.read(episode, ["observation.state", "action"])
        front, wrist = (np.stack([*dataset.pictures(episode, f"observation.images.{n}")]) for n in ("front", "wrist"))
        if not (
            np.array_equal(found["action"], np.repeat(steps[:, None] + episode.index, 7, 1))
            and np.array_equal(front[:, 0, 0, 0], 20 * steps + episode.index)
            and np.abs(wrist[:, 5, 5, 0].astype(int) - 20 * steps).max() <= 4
            and episode.tasks == (f"task {episode.index % 2}",)
        ):
            return f"episode {episode.index} differs"
    return ""


if __name__ == "__main__":
    sys.exit(main())
