"""What every simulated task offers, whichever simulator runs it: `Task`, `TaskSpec`, `Observation`.

Units and frames: metres, radians, seconds; everything in the robot base frame, quaternions xyzw. The action is one
`EndEffectorDelta`: a float array (7,) holding dx, dy, dz (m, added to the controller's target position), an axis-angle
vector rx, ry, rz (rad, applied on the left of the target orientation) and the absolute gripper opening
(0 closed ... 1 open).
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from magma_contracts.arm_state import ArmState

Variant = Literal["eval", "random"]
VARIANTS: tuple[Variant, ...] = ("eval", "random")
Pose = tuple[NDArray[np.float64], NDArray[np.float64]]
"""(position (3,) m, quaternion xyzw (4,)) in the base frame."""


class SimulatorUnavailableError(RuntimeError):
    """This machine lacks something that a task needs: the message says what, and how to get it."""


@dataclass(frozen=True)
class Observation:
    """What is known after `reset` or `step`. Arrays are the caller's own; the simulator never writes to them again."""

    image: NDArray[np.uint8] | None
    """(H, W, 3) RGB; None when the task was made without rendering or the step asked for no image"""
    end_effector: ArmState
    object_poses: Mapping[str, Pose]
    """privileged: every object of the scene by name"""
    step: int
    """steps executed since the reset"""
    success: bool
    """whether the goal holds now; not latched"""
    instruction: str


@dataclass(frozen=True)
class TaskSpec:
    """Fixed facts of a task that a policy and a controller must agree with."""

    suite: str
    task: str
    instruction: str
    max_steps: int
    image_height: int
    image_width: int
    camera_intrinsics: NDArray[np.float64]
    """K (3, 3) in pixels of the image above; pixel centres at half-integers"""
    camera_extrinsics: NDArray[np.float64]
    """(4, 4) base -> camera_optical (x right, y down, z forward): point_camera = E @ point_base"""
    table_height_m: float
    step_period_s: float = 0.2
    frame: str = "base"
    rotation: str = "axis_angle"
    gripper: str = "absolute_open_1"
    camera: str = "third_person"
    robot: str = ""
    """arm and camera set-up, as a checkpoint of several robots names it"""
    object_names: tuple[str, ...] = field(default_factory=tuple)
    """every name that `Observation.object_poses` may hold"""


class Task(abc.ABC):
    """One episode after another of one task. Not thread-safe: one thread owns a task."""

    @property
    @abc.abstractmethod
    def spec(self) -> TaskSpec:
        """Facts that never change for this task."""

    @property
    @abc.abstractmethod
    def evaluation_layouts(self) -> int:
        """Number of fixed layouts of the variant "eval"; their numbers run from 0."""

    @property
    @abc.abstractmethod
    def joint_positions(self) -> Mapping[str, float]:
        """Measured position of every joint by name: rad, or m where a joint slides."""

    @abc.abstractmethod
    def reset(self, variant: Variant, layout: int) -> Observation:
        """Starts an episode. Equal arguments give equal worlds, to the pixel.

        Args:
            variant: "eval" for the fixed evaluation layouts, "random" for training layouts.
            layout: number of the evaluation layout, or any non-negative seed of a random one.

        Raises:
            ValueError: unknown variant or layout out of range.
        """

    @abc.abstractmethod
    def step(self, action: NDArray[np.floating], *, render: bool = True) -> Observation:
        """Executes one action for one step period of simulated time.

        Args:
            action: EndEffectorDelta (7,).
            render: False leaves `Observation.image` None, which is much faster.

        Raises:
            ValueError: wrong shape, a value that is not finite, or a gripper outside [0, 1]; nothing has moved then.
            RuntimeError: no episode was started.
        """

    @abc.abstractmethod
    def render_large(self) -> NDArray[np.uint8]:
        """A larger image (H, W, 3) RGB uint8 of the present state for people to look at."""

    @abc.abstractmethod
    def close(self) -> None:
        """Releases the simulator; the task cannot be used afterwards."""


class DemonstrableTask(Task):
    """A task whose episodes can also start from another pose of the arm, as demonstrations of recoveries do."""

    @abc.abstractmethod
    def reset(
        self,
        variant: Variant,
        layout: int,
        *,
        start_position: NDArray[np.float64] | None = None,
        start_quaternion_xyzw: NDArray[np.float64] | None = None,
        render: bool = True,
    ) -> Observation:
        """Starts an episode, see `Task.reset`.

        Args:
            variant: "eval" or "random".
            layout: its number.
            start_position: (3,) m; another start of the tool centre point than the layout's own.
            start_quaternion_xyzw: (4,); another start orientation than the task's own.
            render: False leaves the image out.

        Raises:
            ValueError: as `Task.reset`, or the arm cannot reach the start.
        """


class FilmableTask(Task):
    """A task that can show states it has been in once more, so that a film costs the episode itself nothing."""

    @abc.abstractmethod
    def snapshot(self) -> NDArray[np.float64]:
        """Where everything that moves is now: a vector for `show`, of an order of its own."""

    @abc.abstractmethod
    def show(self, snapshot: NDArray[np.float64]) -> None:
        """Puts everything where it was, for `render_large`; speeds and what the arm was told stay as they are.

        Args:
            snapshot: of the running episode.
        """


class LateCommandTask(Task):
    """A task whose simulator takes a command also in the middle of a step, as the arm of a robot does."""

    late_commands = True
    """as the evaluator asks"""

    @abc.abstractmethod
    def step(self, action: NDArray[np.floating] | None, *, render: bool = True, late_s: float = 0.0) -> Observation:
        """Simulates one step period; see `Task.step`.

        Args:
            action: EndEffectorDelta (7,), or None: no command comes, and the arm goes on with what it was told before.
            render: False leaves `Observation.image` None.
            late_s: time from the step's beginning until the command reaches the arm, from 0 to below the step period;
                until then the arm goes on with what it was told before. Rounded to the simulator's own time step.

        Raises:
            ValueError: as `Task.step`, or `late_s` is outside the step.
        """


def late_physics_steps(late_s: float, period_s: float, steps: int) -> int:
    """The physics step, of `steps` in a period, before which a command comes that is `late_s` late.

    Raises:
        ValueError: `late_s` is not within the period; nothing has moved then.
    """
    if not 0.0 <= late_s < period_s:
        raise ValueError(f"a command comes 0 s to below {period_s} s after its step's beginning, got {late_s} s")
    return min(round(late_s / period_s * steps), steps - 1)


def check_action(action: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the action as float64 (7,), or raises ValueError saying what is wrong with it."""
    array = np.asarray(action, dtype=np.float64)
    if array.shape != (7,):
        raise ValueError(f"an action has shape (7,): dx dy dz rx ry rz gripper; got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"an action must be finite, got {array.tolist()}; nothing was moved")
    if not 0.0 <= array[6] <= 1.0:
        raise ValueError(f"the gripper is an absolute opening in [0, 1], got {array[6]}; nothing was moved")
    return array
