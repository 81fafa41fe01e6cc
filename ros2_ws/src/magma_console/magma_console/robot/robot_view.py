"""What is known of the robot, for several threads: the node's tell it, the door's asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from magma_common.process.clocks import steady_s
from magma_console.robot.overlay import box_lines
from magma_console.robot.pictures import NewestPicture
from magma_console.robot.view_state import Controller, FloatArray, ViewState
from magma_teleop.operator_device import ArmPose


class RobotView:
    """A `ViewState` behind a lock, beside the arm's and the camera's poses that operators' motions need."""

    def __init__(self, silent_s: Callable[[], float], pictures: Mapping[str, NewestPicture]) -> None:
        """
        Args:
            silent_s: after so long controller and arm count as silent.
            pictures: whose ages are told.
        """
        self._silent_s = silent_s
        self._pictures = pictures
        self._lock = threading.Lock()
        self._state = ViewState()
        self._arm: tuple[ArmPose, float] | None = None
        self._camera: FloatArray | None = None
        self._overlay: Mapping[str, Any] = {}
        self._lines: Mapping[str, Any] = {}
        self._box: Sequence[Sequence[float]] = ()

    # The node's threads

    def update(self, tell: Callable[[ViewState], None]) -> None:
        """Tells the state something."""
        with self._lock:
            tell(self._state)

    def tell(self, kind: str, text: str) -> None:
        """Something happened in the console itself."""
        self.update(lambda state: state.event(steady_s(), kind, text))

    def controller(self, report: Controller, now_s: float) -> tuple[int | None, int]:
        """Takes a report of the controller; the phases before and after it."""
        with self._lock:
            before = self._state.phase
            self._state.controller(report, now_s)
            return before, report.phase

    def pose(self, arm: ArmPose, position: FloatArray, gripper: float, now_s: float) -> None:
        """Takes the measured pose of the end effector."""
        with self._lock:
            self._arm = (arm, now_s)
            self._state.pose(position, arm.quaternion_xyzw, gripper, now_s)

    def look(self, camera_xyzw: FloatArray | None, overlay: Mapping[str, Any]) -> None:
        """Takes the camera's orientation and what is drawn over its picture."""
        self._camera, self._overlay = camera_xyzw, overlay

    def workspace(self, low: FloatArray, high: FloatArray) -> None:
        """Takes the box (3,), (3,) in which the arm's tool may be; base frame, metres."""
        self._box = box_lines(low, high)

    def look_at_arm(self, lines: Mapping[str, Any]) -> None:
        """Takes the lines of the arm; base frame, metres."""
        self._lines = lines

    # The door's thread

    def arm(self, now_s: float) -> ArmPose | None:
        """Where the arm is, if it was heard lately."""
        known = self._arm
        return known[0] if known is not None and now_s - known[1] <= self._silent_s() else None

    def camera_xyzw(self) -> FloatArray | None:
        """The camera's orientation in the base frame, if known."""
        return self._camera

    def holder(self, now_s: float) -> str:
        """Who has the arm."""
        with self._lock:
            return self._state.holder(now_s)

    def lives(self, device: str, now_s: float, silent_s: float) -> bool:
        """Whether an operator's device was heard lately."""
        with self._lock:
            return self._state.lives(device, now_s, silent_s)

    def snapshot(self, now_s: float) -> dict[str, Any]:
        """What is shown now."""
        with self._lock:
            told = self._state.snapshot(now_s, self._silent_s())
        told["overlay"] = dict(self._overlay)
        told["arm"], told["workspace"] = dict(self._lines), list(self._box)
        told["pictures"] = {
            name: None if picture.heard_s is None else round((now_s - picture.heard_s) * 1e3)
            for name, picture in self._pictures.items()
        }
        return told

    def events_after(self, known: int, now_s: float) -> tuple[int, Sequence[Any]]:
        """Events that a page does not have yet."""
        with self._lock:
            return self._state.events_after(known, now_s)

    def points_after(self, known: int, now_s: float) -> tuple[int, Sequence[Any]]:
        """Points of the traces that a page does not have yet."""
        with self._lock:
            return self._state.points_after(known, now_s)
