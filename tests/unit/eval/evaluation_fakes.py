"""A task without a simulator, for tests of the evaluator: quick, deterministic, and faulty on demand."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from magma_contracts.arm_state import ArmState
from magma_sim.tasks.interface import LateCommandTask, Observation, Task, TaskSpec, check_action

DOWN = np.array([1.0, 0.0, 0.0, 0.0])


class FakeTask(Task):
    """A point that should reach a place. Its observation tells nothing else.

    Args:
        name: any.
        images: whether there are pictures.
        steps: length of an episode.
        period_s: step period.
        fault: what goes wrong at step 2: "hang", "crash", "exception", "hang in reset" or "" for nothing.
        layout: the layout in which it goes wrong.
        times: how often; counted in the file `marker`, because every time costs a process.
        marker: see `times`.
        slow_s: seconds that a step takes.
    """

    def __init__(
        self,
        name: str,
        *,
        images: bool = True,
        steps: int = 8,
        period_s: float = 0.2,
        fault: str = "",
        layout: int = 1,
        times: int = 10**9,
        marker: str = "",
        slow_s: float = 0.0,
    ) -> None:
        if name == "broken":
            raise FileNotFoundError("the assets of this task are missing")
        self._name, self._images, self._steps, self._period_s = name, images, steps, period_s
        self._fault, self._fault_layout, self._times, self._slow_s = fault, layout, times, slow_s
        self._marker = Path(marker) if marker else None
        self.position = np.zeros(3)
        self.renders = 0
        self.layout = 0
        self._step = 0
        self._gripper = 1.0

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec(
            suite="fake",
            task=self._name,
            instruction="reach",
            max_steps=self._steps,
            image_height=8,
            image_width=8,
            camera_intrinsics=np.eye(3),
            camera_extrinsics=np.eye(4),
            table_height_m=0.0,
            step_period_s=self._period_s,
        )

    @property
    def evaluation_layouts(self) -> int:
        return 24

    @property
    def joint_positions(self) -> dict[str, float]:
        return {}

    def reset(self, variant: str, layout: int) -> Observation:
        self.layout, self._step, self.position, self._gripper = layout, 0, np.zeros(3), 1.0
        if self._fault == "hang in reset":
            self._misbehave("hang in reset")
        return self._observe(True)

    def step(self, action: np.ndarray, *, render: bool = True) -> Observation:
        action = check_action(action)
        if self._step == 2 and self._fault != "hang in reset":
            self._misbehave(self._fault)
        time.sleep(self._slow_s)
        self._step += 1
        self.position = self.position + action[:3]
        self._gripper = float(action[6])
        return self._observe(render)

    def render_large(self) -> np.ndarray:
        return np.full((48, 64, 3), 40 + 3 * self._step, dtype=np.uint8)

    def close(self) -> None:
        pass

    def _misbehave(self, fault: str) -> None:
        if not fault or self.layout != self._fault_layout:
            return
        if self._marker is not None:
            done = self._marker.stat().st_size if self._marker.exists() else 0
            if done >= self._times:
                return
            with self._marker.open("a") as file:
                file.write("x")
        if fault.startswith("hang"):
            time.sleep(600)
        if fault == "crash":
            os.abort()
        raise RuntimeError("the simulator raised")

    def _observe(self, render: bool) -> Observation:
        self.renders += int(render and self._images)
        # Even layouts succeed in the middle and lose it again, layout 3 at the end, the others when moved.
        middle = self.layout % 2 == 0 and 3 <= self._step <= 5
        success = middle or (self.layout == 3 and self._step == self._steps) or self.position[0] > 0.05
        state = ArmState(self.position, DOWN, self.position, DOWN, self._gripper, self._gripper)
        image = np.full((8, 8, 3), self._step, dtype=np.uint8) if render and self._images else None
        return Observation(image, state, {}, self._step, bool(success), f"reach, step {self._step}")


class FakeLateTask(FakeTask, LateCommandTask):
    """Takes commands in the middle of a step, and remembers them."""

    def __init__(self, name: str, *, period_s: float = 0.2, steps: int = 8) -> None:
        super().__init__(name, period_s=period_s, steps=steps)
        self.actions: list[np.ndarray | None] = []
        self.late_s: list[float] = []

    def step(self, action: np.ndarray | None, *, render: bool = True, late_s: float = 0.0) -> Observation:
        self.actions.append(action)
        self.late_s.append(late_s)
        still = np.array([0, 0, 0, 0, 0, 0, self._gripper])
        return super().step(still if action is None else action, render=render)


def make_task(name: str, *, images: bool = True, **options: object) -> FakeTask:
    return FakeTask(name, images=images, **options)  # type: ignore[arg-type]
