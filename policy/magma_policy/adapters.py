"""What becomes of a model's seven values on the robot whose data they were trained on.

Open X-Embodiment data, so also Magma and OpenVLA, code actions as x y z, roll pitch yaw, gripper opening. This
project's deltas are a translation, a rotation vector and an absolute opening. Beside the delta an adapter gives the
action that the published evaluation sends to SimplerEnv, whose gripper commands differ from robot to robot. An adapter
belongs to one robot and one episode; `reset` puts it back to the beginning.

Source: `magma_model.py` of the SimplerEnv evaluation in github.com/microsoft/Magma; the gripper rules are SimplerEnv's
own (`simpler_env/policies`). Unlike there, no state survives into the next episode.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from PIL import Image

from magma_policy.config import ConfigError

# The published evaluation shrinks every camera picture to this size before the processor sees it, with Pillow's default
# (bicubic) filter.
SIMPLER_PICTURE_SIDE = 256
# Control steps for which the Google robot's gripper repeats a command once it has started, in the published evaluation.
GOOGLE_STICKY_STEPS = 10
# A change of the opening that starts such a command.
GOOGLE_STICKY_CHANGE = 0.5


@dataclass(frozen=True)
class AdaptedAction:
    """`delta` float64 (7,) as everywhere in this project: metres, rotation vector (rad), opening 0 closed .. 1 open.

    `simpler` float64 (7,) is world_vector, rot_axangle and gripper of SimplerEnv's own action, None if there is none.
    """

    delta: np.ndarray
    simpler: np.ndarray | None


def rotation_vector(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Rotation vector (3,) of Rz(yaw) Ry(pitch) Rx(roll), angle in 0..pi (rad); static x y z Euler angles."""
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a / 2), math.sin(a / 2)) for a in (roll, pitch, yaw))
    w = cr * cp * cy + sr * sp * sy
    axis = np.array([sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy])
    length = float(np.linalg.norm(axis))
    if length < 1e-12:
        return np.zeros(3)
    # Both signs of a quaternion are the same rotation; the shorter way round is the one below pi.
    return axis / length * (2.0 * math.atan2(length, abs(w))) * (1.0 if w >= 0 else -1.0)


def euler_angles(rotation: np.ndarray) -> np.ndarray:
    """Static x y z Euler angles (N, 3), rad, of rotation vectors (N, 3): the inverse of `rotation_vector`.

    Pitch lies in -pi/2..pi/2; at its ends only the sum or difference of roll and yaw is defined, and roll is 0.
    """
    rotation = np.asarray(rotation, dtype=np.float64)
    angle = np.linalg.norm(rotation, axis=1)
    # sin(angle / 2) / angle, which is 1/2 at 0.
    scale = 0.5 * np.sinc(angle / (2.0 * math.pi))
    w = np.cos(angle / 2.0)
    x, y, z = (rotation * scale[:, None]).T
    sine = np.clip(2.0 * (w * y - z * x), -1.0, 1.0)
    roll = np.arctan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y))
    yaw = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    edge = np.abs(sine) > 1.0 - 1e-9
    roll = np.where(edge, 0.0, roll)
    yaw = np.where(edge, np.arctan2(-2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z)), yaw)
    return np.stack([roll, np.arcsin(sine), yaw], axis=1)


class Adapter(ABC):
    """Turns un-normalised model values (7,) into an action; `reset` starts an episode."""

    # Side in pixels that the picture is squashed to before tiling; None leaves it alone.
    picture_side: int | None = None

    def picture(self, image: np.ndarray) -> np.ndarray:
        """The camera's uint8 (H, W, 3) picture as this robot's model expects it."""
        if self.picture_side is None:
            return image
        return np.asarray(Image.fromarray(image).resize((self.picture_side, self.picture_side)))

    def reset(self) -> None:  # noqa: B027 - an adapter without state has nothing to forget
        """Forget the last episode."""

    @abstractmethod
    def adapt(self, values: np.ndarray) -> AdaptedAction:
        """Un-normalised values float64 (7,), to be called once per control step."""

    @abstractmethod
    def encode(self, deltas: np.ndarray) -> np.ndarray:
        """Deltas (N, 7), as in `AdaptedAction`, to the model values (N, 7) that `adapt` turns into them."""


class DeltaAdapter(Adapter):
    """For models trained on this project's own deltas."""

    def adapt(self, values: np.ndarray) -> AdaptedAction:
        delta = np.array(values, dtype=np.float64)
        # Bin centres of the unscaled gripper run from -0.996 to 0.996; the opening is defined on 0..1.
        delta[6] = np.clip(delta[6], 0.0, 1.0)
        return AdaptedAction(delta, None)

    def encode(self, deltas: np.ndarray) -> np.ndarray:
        return np.asarray(deltas, dtype=np.float64)


class WidowXAdapter(Adapter):
    """BridgeData V2 on a WidowX: Euler angles; the gripper is open above one half, closed otherwise."""

    picture_side = SIMPLER_PICTURE_SIDE

    def adapt(self, values: np.ndarray) -> AdaptedAction:
        motion = _euler_motion(values)
        opening = 1.0 if values[6] > 0.5 else 0.0
        return AdaptedAction(np.append(motion, opening), np.append(motion, 2.0 * opening - 1.0))

    def encode(self, deltas: np.ndarray) -> np.ndarray:
        return _euler_values(deltas)


class GoogleRobotAdapter(Adapter):
    """RT-1 data on Google's robot: Euler angles; SimplerEnv's gripper is relative and sticky.

    `delta` has the model's own opening, limited to 0..1. `simpler` has what SimplerEnv wants: the previous opening less
    the present one (0 in an episode's first step, positive closes); a change of more than one half is repeated for
    `GOOGLE_STICKY_STEPS` steps, whatever the model says meanwhile.
    """

    picture_side = SIMPLER_PICTURE_SIDE

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._previous: float | None = None
        self._latched: float | None = None
        self._repeats = 0

    def adapt(self, values: np.ndarray) -> AdaptedAction:
        motion, opening = _euler_motion(values), float(values[6])
        relative = 0.0 if self._previous is None else self._previous - opening
        self._previous = opening
        if self._latched is None and abs(relative) > GOOGLE_STICKY_CHANGE:
            self._latched = relative
        if self._latched is not None:
            relative = self._latched
            self._repeats += 1
            if self._repeats == GOOGLE_STICKY_STEPS:
                self._latched, self._repeats = None, 0
        return AdaptedAction(np.append(motion, np.clip(opening, 0.0, 1.0)), np.append(motion, relative))

    def encode(self, deltas: np.ndarray) -> np.ndarray:
        return _euler_values(deltas)


def _euler_motion(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(values[:3], dtype=np.float64), rotation_vector(*map(float, values[3:6]))])


def _euler_values(deltas: np.ndarray) -> np.ndarray:
    deltas = np.asarray(deltas, dtype=np.float64)
    return np.concatenate([deltas[:, :3], euler_angles(deltas[:, 3:6]), deltas[:, 6:]], axis=1)


ADAPTER_CLASSES: dict[str, type[Adapter]] = {
    "deltas": DeltaAdapter,
    "widowx": WidowXAdapter,
    "google_robot": GoogleRobotAdapter,
}


def make_adapter(name: str) -> Adapter:
    """A fresh adapter; raises ConfigError for an unknown name."""
    if name not in ADAPTER_CLASSES:
        raise ConfigError(f"no adapter {name!r}; there are {sorted(ADAPTER_CLASSES)}")
    return ADAPTER_CLASSES[name]()
