"""Turns recordings into demonstrations for magma-train: what operators did, and on request what the policy did.

On disk as magma-demos writes it, a LeRobot dataset of version 3.0, with three features more:

    magma.weight float32        what a step counts in training
    magma.operator bool         the step was the operator's
    magma.intervention int32    number of the intervention that the step belongs to, from 0; -1 = none

What a recording does not tell is NaN: the marks of the objects, unless /tf says where these are and `marked_points`
which frames are meant.
"""

from __future__ import annotations

import bisect
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_common.conversions import stamp_to_ns, state_from_msg
from magma_common.transforms.frames import FRAME_PREFIX_OF_NAMESPACE, frame_prefix
from magma_common.transforms.transform_tree import FramePose, TransformTree, UnknownPoseError
from magma_contracts.arm_state import EndEffectorState
from magma_contracts.camera import project
from magma_contracts.demonstrations import ACTION_ENTRY, FORMAT_VERSION, MARKS, OBJECT_MARKS
from magma_contracts.geometry.rotations import axis_angle_from_quaternion, conjugate, multiply
from magma_data.demonstrations import add_episode, form_of, open_set
from magma_recorder import topics
from magma_recorder.marked_points import FramePoint, MarkedPoints
from magma_recorder.recordings.image_compression import ImageError, decompress
from magma_recorder.recordings.recording import Recording, RecordingError

FloatArray = NDArray[np.float64]
TELEOP_PHASE = 2
DEFAULT_CAMERA_FRAME = "camera_optical"
UNPLACED = "marks unknown: "
"""Begins what is counted of objects whose place was not known, by reason."""
WHOLE_RECORDING_S = 1e6
CAMERA_MOVED_M, CAMERA_MOVED_RAD = 0.002, 0.01
"""A camera whose pose in the base frame changes by more while it records is not one camera of a set."""


@dataclass(frozen=True)
class ExportOptions:
    """What is taken, and what it counts."""

    operator_weight: float = 1.0
    policy_weight: float = 0.0
    """0 leaves the policy's own steps out: what it did is no example of what it should do"""
    before_takeover_s: float = 1.0
    """the policy's steps of so long before a take-over weigh nothing: they led to it"""
    max_frame_age_s: float = 0.5
    """an operator's step needs a frame that was at most this old"""
    min_steps: int = 2
    """shorter episodes are left out"""
    table_height_m: float = 0.0
    step_period_s: float = 0.2
    robot: str = ""
    """name of arm and camera set-up; one that a checkpoint knows by this name is the same robot to magma-train"""
    marked_points: MarkedPoints = field(default_factory=dict)
    """where the objects of each instruction are marked, by frames of /tf"""
    base_frame: str = ""
    """frame of the arm's base in /tf; empty = the one that the end effector's state names"""
    camera_frame: str = ""
    """the camera's optical frame in /tf; empty = the one that CameraInfo names"""
    namespace: str | None = None
    """of the robot, such as /left, where a recording holds several; None = the only one"""


@dataclass
class _Step:
    command_ns: int
    frame: NDArray[np.uint8]
    state: EndEffectorState
    action: FloatArray
    operator: bool
    intervention: int
    points: FloatArray
    """(3, 3) `OBJECT_MARKS` in the base frame, NaN where unknown"""


@dataclass
class _Episode:
    instruction: str
    task: str
    success: bool = False
    steps: list[_Step] = field(default_factory=list)


@dataclass
class _Camera:
    """What the recording says about the camera."""

    intrinsics: FloatArray | None = None
    size: tuple[int, int] = (0, 0)
    """width, height that the intrinsics are for"""
    frame: str = DEFAULT_CAMERA_FRAME
    """name of its optical frame in /tf"""
    pose: FramePose | None = None
    """where it is in the base frame"""
    trouble: str = ""
    """why that is not known, or cannot be told by one pose"""


class _Frames:
    """The last frames and states by stamp."""

    def __init__(self) -> None:
        self._stamps: list[int] = []
        self._values: list[Any] = []

    def add(self, stamp_ns: int, value: Any) -> None:
        if not self._stamps or stamp_ns > self._stamps[-1]:
            self._stamps.append(stamp_ns)
            self._values.append(value)

    def at(self, stamp_ns: int, max_age_ns: int) -> Any:
        """The newest value from then or before, if it is not too old."""
        index = bisect.bisect_right(self._stamps, stamp_ns) - 1
        if index < 0 or stamp_ns - self._stamps[index] > max_age_ns:
            return None
        return self._values[index]


class _Reader:
    """Goes through a recording once and collects episodes."""

    def __init__(self, options: ExportOptions) -> None:
        self.options = options
        self.episodes: list[_Episode] = []
        self.camera = _Camera()
        self.left_out = 0
        """commands without a frame or a state"""
        self.damaged = 0
        """commands whose frame is no whole picture"""
        self.unplaced: Counter[str] = Counter()
        """points of objects whose place was not known, by reason"""
        self.frame_prefix = ""
        """what may stand before the names of this robot's frames in /tf"""
        self._known_frames: set[str] = set()
        self._frames, self._states = _Frames(), _Frames()
        self._transforms = TransformTree(WHOLE_RECORDING_S)
        self._instruction = ""
        self._kept = False
        """whether an instruction keeper said which instruction was in force"""
        self._task = ""
        self._progress = -1
        self._phase = 0
        self._operators: set[str] = set()
        self._interventions = 0
        self._done = False

    def take(self, topic: str, message: Any) -> None:
        if topic == topics.FRAME + "/compressed":
            self._frames.add(stamp_to_ns(message.header.stamp), message)
        elif topic == topics.END_EFFECTOR_STATE:
            self._states.add(stamp_to_ns(message.header.stamp), state_from_msg(message))
        elif topic == topics.INSTRUCTION_IN_FORCE:
            self._kept = True
            self._on_instruction(message.instruction)
        elif topic == topics.INSTRUCTION:
            if not self._kept:
                self._on_instruction(message.data)
        elif topic == topics.EPISODE_STATUS:
            self._on_episode(message)
        elif topic == topics.TELEOP_COMMAND:
            self._operators.add(message.source)
        elif topic == topics.CONTROLLER_STATE:
            if message.phase == TELEOP_PHASE and self._phase != TELEOP_PHASE:
                self._interventions += 1
            self._phase = int(message.phase)
        elif topic == topics.COMMAND:
            self._on_command(message)
        elif topic == topics.CAMERA_INFO:
            self.camera.intrinsics = np.array(message.k, dtype=np.float64).reshape(3, 3)
            self.camera.size = (int(message.width), int(message.height))
            self.camera.frame = self.options.camera_frame or message.header.frame_id or DEFAULT_CAMERA_FRAME
        elif topic == topics.TRANSFORMS_STATIC:
            self._on_transforms(message, static=True)
        elif topic == topics.TRANSFORMS:
            self._on_transforms(message, static=False)

    def _on_instruction(self, instruction: str) -> None:
        if instruction != self._instruction:
            self._instruction, self._done = instruction, True

    def _on_episode(self, message: Any) -> None:
        name = f"{message.task}-{message.variant}-{message.layout}"
        if name != self._task or int(message.step) < self._progress:
            self._done = True
        self._task, self._progress = name, int(message.step)
        if self.episodes and not self._done:
            self.episodes[-1].success = bool(message.success)

    def _on_command(self, message: Any) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        # The policy's commands carry the stamp of their frame, the operator's that of the key.
        operator = message.source in self._operators
        max_age_ns = round(self.options.max_frame_age_s * 1e9) if operator else 0
        frame, state = self._frames.at(stamp_ns, max_age_ns), self._states.at(stamp_ns, max_age_ns)
        if frame is None or state is None:
            self.left_out += 1
            return
        try:
            picture = decompress(frame)
        except ImageError:
            self.damaged += 1
            return
        if not self.episodes or self._done:
            self.episodes.append(_Episode(self._instruction, self._task or "robot"))
            self._done = False
        t, r = message.translation, message.rotation
        action = np.array([t.x, t.y, t.z, r.x, r.y, r.z, message.gripper], dtype=np.float64)
        # The first command of an intervention is sent before the phase that it leads to is told.
        begun = self._interventions - 1 if self._phase == TELEOP_PHASE else self._interventions
        number = begun if operator else -1
        base = self._frame(self.options.base_frame or state.frame)
        points = self._points(stamp_to_ns(frame.header.stamp), base)
        self._locate_camera(stamp_to_ns(frame.header.stamp), base)
        self.episodes[-1].steps.append(_Step(stamp_ns, picture, state, action, operator, number, points))

    def _points(self, stamp_ns: int, base: str) -> FloatArray:
        """Where the points of the present instruction were then."""
        wanted: Mapping[str, FramePoint] = self.options.marked_points.get(self._instruction.strip(), {})
        found = np.full((len(OBJECT_MARKS), 3), np.nan)
        for index, name in enumerate(OBJECT_MARKS):
            point = wanted.get(name)
            if point is None:
                continue
            try:
                frame = self._frame(point.frame)
                pose = self._transforms.pose(frame, base, stamp_ns, self.options.max_frame_age_s).matrix
            except UnknownPoseError as error:
                self.unplaced[_without_numbers(str(error))] += 1
                continue
            found[index] = pose[:3, :3] @ np.array(point.at) + pose[:3, 3]
        return found

    def _locate_camera(self, stamp_ns: int, base: str) -> None:
        """Where the camera is. One set of demonstrations has one camera at one place."""
        camera = self.camera
        try:
            pose = self._transforms.pose(self._frame(camera.frame), base, stamp_ns, WHOLE_RECORDING_S)
        except UnknownPoseError as error:
            camera.trouble = str(error)
            return
        if camera.pose is None:
            camera.pose, camera.trouble = pose, ""
            return
        moved_m = float(np.linalg.norm(pose.matrix[:3, 3] - camera.pose.matrix[:3, 3]))
        turned = multiply(pose.quaternion_xyzw, conjugate(camera.pose.quaternion_xyzw))
        turned_rad = float(np.linalg.norm(axis_angle_from_quaternion(turned)))
        if moved_m > CAMERA_MOVED_M or turned_rad > CAMERA_MOVED_RAD:
            camera.trouble = (
                f"{camera.frame!r} moved by {moved_m:.3f} m and {turned_rad:.3f} rad in {base!r} while it recorded; a "
                "set of demonstrations has one place of the camera: export the time before and after apart"
            )

    def _frame(self, name: str) -> str:
        """A frame as /tf calls it: with this robot's prefix, if there is such a one."""
        prefixed = self.frame_prefix + name
        return prefixed if prefixed in self._known_frames else name

    def _on_transforms(self, message: Any, static: bool) -> None:
        for item in message.transforms:
            self._known_frames |= {item.header.frame_id, item.child_frame_id}
            self._transforms.add(item, static)


def export(recordings: Sequence[Path], out: Path, options: ExportOptions) -> dict[str, int]:
    """Writes a demonstration set of the steps that weigh something.

    Args:
        recordings: MCAP files or folders; all seen by one camera.
        out: new folder.

    Returns:
        Counts: episodes, steps, operator_steps, left_out (commands without a frame), damaged (commands whose frame
        is no whole picture), without_instruction (steps while nobody had said what to do: they teach nothing), and
        points of objects without a place, each reason beginning with `UNPLACED`.

    Raises:
        RecordingError: no recording, no camera in it, or nothing to export.
        FileExistsError: the folder exists.
    """
    counts = {"episodes": 0, "steps": 0, "operator_steps": 0, "left_out": 0, "damaged": 0, "without_instruction": 0}
    cards: list[dict[str, Any]] = []
    written: list[tuple[str, dict[str, Any]]] = []
    for path in recordings:
        reader = _Reader(options)
        recording = Recording(path, options.namespace)
        for item in recording.read(_WANTED):
            reader.frame_prefix = frame_prefix(FRAME_PREFIX_OF_NAMESPACE, recording.namespace)
            reader.take(item.name, item.message)
        counts["left_out"] += reader.left_out
        counts["damaged"] += reader.damaged
        for reason, number in reader.unplaced.items():
            counts[UNPLACED + reason] = counts.get(UNPLACED + reason, 0) + number
        for number, episode in enumerate(reader.episodes):
            arrays = _arrays(episode, options)
            if arrays is None:
                continue
            if not episode.instruction.strip():
                counts["without_instruction"] += len(arrays["actions"])
                continue
            cards.append(_card(path, reader.camera, arrays["frames"].shape[1], options))
            arrays.update(_marks(arrays.pop("objects"), arrays["proprioception"], cards[-1]))
            written.append((f"{episode.task}-{path.stem}-{number}", arrays))
            counts["episodes"] += 1
            counts["steps"] += len(arrays["actions"])
            counts["operator_steps"] += int(arrays["operator"].sum())
    if not written and counts["without_instruction"]:
        raise RecordingError(
            f"nothing to export: no instruction was in force during any of {counts['without_instruction']} steps; say "
            "one before the arm moves (ros2 launch magma_bringup robot.launch.py instruction:=...)"
        )
    if not written:
        raise RecordingError(
            "nothing to export: no operator had the arm"
            + ("" if options.policy_weight > 0.0 else "; --policy-weight 1 takes the policy's steps too")
        )
    for card in cards[1:]:
        place, first = (np.array(item["camera_extrinsics_base_to_optical"]) for item in (card, cards[0]))
        if (
            card["camera_intrinsics"] != cards[0]["camera_intrinsics"]
            or card["image_size"] != cards[0]["image_size"]
            or np.abs(place - first).max() > CAMERA_MOVED_M
        ):
            raise RecordingError(
                "the recordings were made with different cameras, or from different places: export them one by one"
            )
    out.mkdir(parents=True)
    form = form_of(written[0][1])
    writer = open_set(out, form, 1.0 / options.step_period_s, options.robot)
    for name, arrays in written:
        add_episode(writer, form, name, arrays)
    writer.flush({**cards[0], "counts": counts, "recordings": [str(path) for path in recordings]})
    return counts


_WANTED = frozenset(
    {
        topics.FRAME + "/compressed",
        topics.END_EFFECTOR_STATE,
        topics.INSTRUCTION,
        topics.INSTRUCTION_IN_FORCE,
        topics.EPISODE_STATUS,
        topics.TELEOP_COMMAND,
        topics.CONTROLLER_STATE,
        topics.COMMAND,
        topics.CAMERA_INFO,
        topics.TRANSFORMS,
        topics.TRANSFORMS_STATIC,
    }
)


def _arrays(episode: _Episode, options: ExportOptions) -> dict[str, Any] | None:
    """The arrays of the steps that weigh something; None when there are too few."""
    steps = episode.steps
    weights = np.array([options.operator_weight if step.operator else options.policy_weight for step in steps])
    takeovers = [after.command_ns for before, after in pairwise(steps) if after.operator and not before.operator]
    for moment_ns in takeovers:
        for index, step in enumerate(steps):
            if not step.operator and 0 <= moment_ns - step.command_ns <= options.before_takeover_s * 1e9:
                weights[index] = 0.0
    kept = [index for index, weight in enumerate(weights) if weight > 0.0]
    if len(kept) < options.min_steps:
        return None
    chosen = [steps[index] for index in kept]
    actions = np.array([step.action for step in chosen], dtype=np.float32)
    return {
        "frames": np.stack([step.frame for step in chosen]),
        "proprioception": np.stack([step.state.as_vector() for step in chosen]),
        "actions": actions,
        "executed": actions,
        "weights": weights[kept].astype(np.float32),
        "operator": np.array([step.operator for step in chosen]),
        "intervention": np.array([step.intervention for step in chosen], dtype=np.int32),
        "objects": np.stack([step.points for step in chosen]),
        "instruction": np.array(episode.instruction),
        "task": np.array(episode.task),
        "success": np.array(episode.success),
    }


def _marks(
    objects: FloatArray, proprioception: NDArray[np.float32], card: dict[str, Any]
) -> dict[str, NDArray[np.float32]]:
    """The objects' points (T, 3, 3) and the tool, in the base frame and in the picture."""
    points = np.concatenate([objects, proprioception[:, None, :3]], axis=1)
    marks = project(points, np.array(card["camera_intrinsics"]), np.array(card["camera_extrinsics_base_to_optical"]))
    return {"points": points.astype(np.float32), "marks": marks.astype(np.float32)}


def _card(path: Path, camera: _Camera, image_size: int, options: ExportOptions) -> dict[str, Any]:
    if camera.intrinsics is None:
        raise RecordingError(f"{path} holds no {topics.CAMERA_INFO}: magma-train has to know the camera")
    if camera.pose is None or camera.trouble:
        raise RecordingError(
            f"{path}: magma-train has to know where the camera is, but {camera.trouble}; --base-frame and "
            "--camera-frame name other frames"
        )
    width, height = camera.size
    if width != height:
        raise RecordingError(f"{path}: pictures of {width} x {height} were cropped to squares; their card is not known")
    scale = image_size / width
    intrinsics = camera.intrinsics.copy()
    # CameraInfo counts from the centre of the first pixel, demonstrations from its corner.
    intrinsics[:2, 2] += 0.5
    intrinsics[:2] *= scale
    return {
        "format_version": FORMAT_VERSION,
        "suite": "recordings",
        "robot": options.robot,
        "action": ACTION_ENTRY,
        "points": list(MARKS),
        "step_period_s": options.step_period_s,
        "image_size": image_size,
        "camera_intrinsics": intrinsics.tolist(),
        "camera_extrinsics_base_to_optical": np.linalg.inv(camera.pose.matrix).tolist(),
        "table_height_m": options.table_height_m,
        "operator_weight": options.operator_weight,
        "policy_weight": options.policy_weight,
    }


def _without_numbers(reason: str) -> str:
    """The same for every step, so that it can be counted."""
    return re.sub(r"\d+\.\d+", "…", reason)
