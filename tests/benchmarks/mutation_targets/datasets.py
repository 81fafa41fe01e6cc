"""LeRobot datasets: their description, tables, pictures and films, and the mapping files of other people's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from dataset_edits import mp4_edits, parquet_edits
from file_mutations import Reading, Target, digest
from mutation_edits import bytes_edits, json_edits, jsonl_edits, line_edits, xml_edits, yaml_edits

from magma_contracts.errors import ConfigError
from magma_data import layout
from magma_data.demonstrations import add_episode, form_of, open_set
from magma_data.info import Feature
from magma_data.writer import DatasetWriter
from magma_policy.demonstrations.episode_file import DemonstrationError
from magma_policy.demonstrations.mapping import Mapping
from magma_policy.demonstrations.reader import Demonstrations, read_demonstrations

SIDE, STEPS = 16, 3
CARD = {
    "camera_intrinsics": [[9.0, 0, 8], [0, 9.0, 8], [0, 0, 1]],
    "camera_extrinsics_base_to_optical": [[0, -1, 0, 0], [-1, 0, 0, 0.5], [0, 0, -1, 0.8], [0, 0, 0, 1]],
    "image_size": SIDE, "table_height_m": 0.0, "step_period_s": 0.2, "robot": "arm", "format_version": 2,
    "objects": {"food": {"noun": "carrot", "colour": "orange"}},
}  # fmt: skip
MAPPED = {
    "robot_type": "so101", "robot": "arm", "camera": "observation.images.front", "fps": 5,
    "state": {
        "space": "joints", "joints": "observation.state[0:2]", "gripper": "observation.state[2]", "gripper_closed": 0,
        "gripper_open": 100,
    },
    "action": {
        "kind": "absolute", "space": "joints", "joints": "action[0:2]", "gripper": "action[2]", "gripper_closed": 0,
        "gripper_open": 100,
    },
    "kinematics": {"urdf": "arm.urdf", "base": "base", "tip": "tip", "joints": ["turn", "slide"]},
}  # fmt: skip
URDF = """<robot name="arm"><link name="base"/>
  <joint name="turn" type="revolute"><parent link="base"/><child link="a"/><axis xyz="0 0 1"/></joint>
  <joint name="slide" type="prismatic"><parent link="a"/><child link="tip"/>
    <origin xyz="0 0 0.1" rpy="0 0.2 0"/></joint>
</robot>"""


def _native(folder: Path, video: bool) -> None:
    rng = np.random.default_rng(0)
    state = np.zeros((STEPS, 16), np.float32)
    state[:, [3, 10]] = 1
    arrays = {
        "proprioception": state,
        "actions": rng.uniform(0, 0.05, (STEPS, 7)).astype(np.float32),
        "marks": rng.uniform(1, 7, (STEPS, 4, 2)).astype(np.float32),
        "frames": rng.integers(0, 256, (STEPS, SIDE, SIDE, 3), dtype=np.uint8),
        "object_names": np.array(["food"]),
        "object_positions": np.full((STEPS, 1, 3), 0.1, np.float32),
        "weights": np.ones(STEPS, np.float32),
        "instruction": np.array("put it down"),
    }
    form = form_of(arrays, 1, video)
    writer = open_set(folder / "set", form, 5.0, "arm")
    for number in range(1):
        add_episode(writer, form, f"e-{number}", arrays | {"actions": arrays["actions"] * (1 + number)})
    writer.flush(CARD)


def _foreign(folder: Path) -> None:
    features = {
        "observation.images.front": Feature("image", (SIDE, SIDE, 3)),
        "observation.state": Feature("float32", (3,)),
        "action": Feature("float32", (3,)),
    }
    rng = np.random.default_rng(0)
    writer = DatasetWriter(folder / "set", 10.0, features, "so101")
    frames = rng.integers(0, 256, (STEPS, SIDE, SIDE, 3), dtype=np.uint8)
    state, action = rng.uniform(0, 0.1, (2, STEPS, 3))
    writer.add({"observation.images.front": frames, "observation.state": state, "action": action}, "put it down")
    writer.flush()
    (folder / "robot.yaml").write_text(yaml.safe_dump(MAPPED))
    (folder / "arm.urdf").write_text(URDF)


def _old(folder: Path) -> None:
    """As version 2.1 has it."""
    _foreign(folder)
    new, old = folder / "set", folder / "old"
    (old / "data/chunk-000").mkdir(parents=True)
    (old / "meta").mkdir()
    shutil.copy(new / "data/chunk-000/file-000.parquet", old / "data/chunk-000/episode_000000.parquet")
    info = json.loads((new / layout.INFO).read_text())
    info |= {"codebase_version": "v2.1", "data_path": layout.DATA_V2, "video_path": layout.VIDEO_V2}
    (old / layout.INFO).write_text(json.dumps(info))
    row = {"episode_index": 0, "tasks": ["put it down"], "length": STEPS}
    (old / layout.EPISODES_V2).write_text(json.dumps(row) + "\n")
    (old / layout.TASKS_V2).write_text(json.dumps({"task_index": 0, "task": "put it down"}) + "\n")
    shutil.rmtree(new)
    old.rename(new)


def _seed(make: Callable[[Path], None], name: str) -> Callable[[Path], Path]:
    def seed(folder: Path) -> Path:
        # In a process of its own: what is read in forked ones must not find the threads of an encoder or of a writer.
        child = os.fork()
        if child == 0:
            try:
                make(folder)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        return folder / name

    return seed


def _told(demos: Demonstrations) -> Reading:
    arrays = (
        demos.frames, demos.frame_index, demos.proprioception, demos.actions, demos.marks, demos.instruction,
        demos.onset, demos.weight, demos.object_marks,
    )  # fmt: skip
    known = (digest(*(array.tobytes() for array in arrays)), demos.cards, demos.instructions, demos.objects)
    return Reading(known, demos.identity)


def _home(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if (parent / "set").is_dir())


def _read(path: Path) -> Reading:
    return _told(read_demonstrations([_home(path) / "set"]))


def _read_mapped(path: Path) -> Reading:
    home = _home(path)
    return _told(read_demonstrations([home / "set"], [Mapping.read(home / "robot.yaml")]))


def _png(folder: Path) -> None:
    _native(folder, False)


def _film(folder: Path) -> None:
    _native(folder, True)


TABLE, MOVIE = (bytes_edits, parquet_edits, parquet_edits), (bytes_edits, mp4_edits)
LINES = (bytes_edits, line_edits, jsonl_edits)
JSON = (bytes_edits, line_edits, json_edits)
TOLD = (DemonstrationError,)
MAPPING_TOLD = (DemonstrationError, ConfigError)
DATA = "set/data/chunk-000/file-000.parquet"
FILM = "set/videos/observation.images.third_person/chunk-000/file-000.mp4"

TARGETS = [
    Target("dataset-info", _seed(_png, f"set/{layout.INFO}"), _read, TOLD, JSON),
    Target("dataset-card", _seed(_png, f"set/{layout.CARD}"), _read, TOLD, JSON),
    Target("dataset-lines", _seed(_png, f"set/{layout.CARD_EPISODES}"), _read, TOLD, LINES),
    Target("dataset-tasks", _seed(_png, f"set/{layout.TASKS}"), _read, TOLD, TABLE),
    Target("dataset-episodes", _seed(_png, "set/meta/episodes/chunk-000/file-000.parquet"), _read, TOLD, TABLE),
    Target("dataset-data", _seed(_png, DATA), _read, TOLD, TABLE),
    Target("dataset-film", _seed(_film, FILM), _read, TOLD, MOVIE),
    Target("dataset-foreign", _seed(_foreign, DATA), _read_mapped, MAPPING_TOLD, TABLE),
    Target("dataset-mapping", _seed(_foreign, "robot.yaml"), _read_mapped, MAPPING_TOLD,
           (bytes_edits, line_edits, yaml_edits)),
    Target("dataset-urdf", _seed(_foreign, "arm.urdf"), _read_mapped, MAPPING_TOLD, (bytes_edits, xml_edits)),
    Target("dataset-2.1-info", _seed(_old, f"set/{layout.INFO}"), _read_mapped, MAPPING_TOLD, JSON),
    Target("dataset-2.1-episodes", _seed(_old, f"set/{layout.EPISODES_V2}"), _read_mapped, MAPPING_TOLD, LINES),
    Target("dataset-2.1-tasks", _seed(_old, f"set/{layout.TASKS_V2}"), _read_mapped, MAPPING_TOLD, LINES),
]  # fmt: skip
