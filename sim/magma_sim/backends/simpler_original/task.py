"""`SimplerTask`: the `Task` interface over a SimplerEnv worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.arm_state import ArmState
from magma_sim.backends.simpler_original.client import Worker
from magma_sim.backends.simpler_original.google_gripper import StickyGripper
from magma_sim.backends.simpler_original.installation import find, has_gpu
from magma_sim.backends.simpler_original.names import EPISODES, PREFIX, SEEDED_STEPS, SUITE, TASKS
from magma_sim.backends.simpler_original.options import SimplerOptions
from magma_sim.tasks.interface import Observation, Task, TaskSpec, Variant, check_action

MAKE_TIMEOUT_S = 300.0
RESET_TIMEOUT_S = 300.0
"""the first image compiles the shaders"""
STEP_TIMEOUT_S = 60.0
RASTERISED = "rasterised, not comparable"

_WIDOWX_CONTROL = "arm_pd_ee_target_delta_pose_align2_gripper_pd_joint_pos"
_GOOGLE_CONTROL = (
    "arm_pd_ee_delta_pose_align_interpolate_by_planner_gripper_pd_joint_target_delta_pos_interpolate_by_planner"
)
"""SimplerEnv's own choice of controllers, `utils/env/env_builder.py`"""


class SimplerTask(Task):
    """One task of the original SimplerEnv, in a worker process of its own.

    The action's translation and rotation are in the robot's base frame. WidowX's controller adds them to its last
    target, Google's to the measured pose: so SimplerEnv defines the two.

    Args:
        name: one of SimplerEnv's 25 names.
        images: False leaves rendering of observations out.
        options: `SimplerOptions` as JSON; none means the set-up that SimplerEnv ships for the name.

    Raises:
        ValueError: unknown task or options.
        installation.NotInstalledError: SimplerEnv is not installed here.
        client.WorkerError, client.WorkerLostError: it cannot make the environment.
    """

    def __init__(self, name: str, *, images: bool = True, options: Mapping[str, Any] | None = None) -> None:
        if name not in TASKS:
            raise ValueError(f"unknown SimplerEnv task {name!r}; there are {', '.join(TASKS)}")
        self._name = name
        self._options = SimplerOptions.from_mapping(options) if options else None
        self._rasterised = self._wants_ray_tracing() and not has_gpu()
        self._gripper = StickyGripper() if name.startswith("google_robot") else None
        installation = find()
        arguments = {} if self._options is None else self._arguments(self._options, installation.overlays)
        self._step: int | None = None
        self._joints: dict[str, float] = {}
        self._worker = Worker(installation)
        try:
            body = {
                "env_id": None if self._options is None else self._options.env_id,
                "task": name,
                "arguments": arguments,
                "images": images,
                "rasterise": self._rasterised,
            }
            made, _ = self._worker.ask("make", body, timeout_s=MAKE_TIMEOUT_S)
            self._spec = self._describe(made["description"], made["state"])
        except BaseException:
            self._worker.close()
            raise

    @property
    def spec(self) -> TaskSpec:
        return self._spec

    @property
    def evaluation_layouts(self) -> int:
        """Number of layouts of "eval"; 0 where SimplerEnv draws the start and no options gave a grid."""
        if self._options is not None:
            return self._options.layouts
        return EPISODES[self._name][0] if self._name in EPISODES else 0

    @property
    def joint_positions(self) -> Mapping[str, float]:
        return self._joints

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of a result must know: said where the rendering is not what SimplerEnv's protocol asks for."""
        return (RASTERISED,) if self._rasterised else ()

    @property
    def worker_pid(self) -> int:
        """Process id of the simulator, for a watchdog."""
        return self._worker.pid

    def reset(self, variant: Variant, layout: int) -> Observation:
        if variant == "eval":
            if not 0 <= layout < self.evaluation_layouts:
                count = self.evaluation_layouts
                advice = "" if count else "; give options, as the evaluation suites do"
                raise ValueError(f"layout {layout} does not exist: {self._name} has {count} evaluation layouts{advice}")
            return self._start(None, self._reset_options(layout))
        if variant == "random":
            if layout < 0:
                raise ValueError(f"a random layout is a non-negative seed, got {layout}")
            if self._name in EPISODES or self._options is not None:
                raise ValueError(f"{self._name} has no random layouts: SimplerEnv numbers its starts")
            return self._start(layout, {})
        raise ValueError(f"unknown variant {variant!r}; there are eval and random")

    def step(self, action: NDArray[np.floating], *, render: bool = True) -> Observation:
        checked = check_action(action)
        if self._step is None:
            raise RuntimeError("no episode is running: call reset first")
        command = checked.copy()
        # WidowX: -1 closed ... 1 open, absolute. Google: relative, positive closes.
        command[6] = 2.0 * checked[6] - 1.0 if self._gripper is None else self._gripper.command(float(checked[6]))
        body, arrays = self._worker.ask("step", {"render": render}, {"action": command}, timeout_s=STEP_TIMEOUT_S)
        self._step += 1
        return self._observation(body["state"], body["success"], arrays.get("image"))

    def render_large(self) -> NDArray[np.uint8]:
        return self._worker.ask("render_large", {}, timeout_s=STEP_TIMEOUT_S)[1]["image"]

    def close(self) -> None:
        self._worker.close()

    def _start(self, seed: int | None, options: dict[str, Any]) -> Observation:
        self._step = None
        body = {"seed": seed, "options": options}
        answer, arrays = self._worker.ask("reset", body, timeout_s=RESET_TIMEOUT_S)
        self._step = 0
        if self._gripper is not None:
            self._gripper.reset()
        return self._observation(answer["state"], answer["success"], arrays.get("image"))

    def _describe(self, about: dict[str, Any], state: dict[str, Any]) -> TaskSpec:
        """From the start that a new environment stands in; instruction and objects of others may differ."""
        return TaskSpec(
            suite=SUITE,
            task=PREFIX + self._name,
            instruction=state["instruction"],
            max_steps=self._max_steps(),
            image_height=about["image_height"],
            image_width=about["image_width"],
            camera_intrinsics=np.array(about["camera_intrinsics"]),
            camera_extrinsics=np.array(about["camera_extrinsics"]),
            table_height_m=about["table_height_m"],
            robot="" if self._options is None else self._options.robot,
            step_period_s=1.0 / about["control_freq"],
            object_names=tuple(state["objects"]),
        )

    def _observation(self, state: dict[str, Any], success: bool, image: NDArray[np.uint8] | None) -> Observation:
        self._joints = state["joints"]
        end_effector = ArmState(
            position=np.array(state["position"]),
            quaternion_xyzw=np.array(state["quaternion_xyzw"]),
            target_position=np.array(state["target_position"]),
            target_quaternion_xyzw=np.array(state["target_quaternion_xyzw"]),
            gripper=state["gripper"],
            gripper_target=state["gripper_target"],
        )
        objects = {
            name: (np.array(position), np.array(quaternion))
            for name, (position, quaternion) in state["objects"].items()
        }
        return Observation(image, end_effector, objects, self._step or 0, success, state["instruction"])

    def _reset_options(self, layout: int) -> dict[str, Any]:
        if self._options is None:
            return {"obj_init_options": {"episode_id": layout}}
        start = self._options.reset(layout)
        placed: dict[str, Any] = {"episode_id": start.object_episode}
        if start.object_xy is not None:
            placed = {"init_xy": list(start.object_xy)}
        robot = {"init_xy": list(start.robot_xy), "init_rot_quat": list(start.robot_quaternion_wxyz)}
        return {"robot_init_options": robot, "obj_init_options": placed}

    def _arguments(self, options: SimplerOptions, overlays: Any) -> dict[str, Any]:
        widowx = options.robot.startswith("widowx")
        arguments: dict[str, Any] = {
            "robot": options.robot,
            "sim_freq": options.sim_freq,
            "control_freq": options.control_freq,
            "control_mode": _WIDOWX_CONTROL if widowx else _GOOGLE_CONTROL,
            "scene_name": options.scene_name,
            "camera_cfgs": {"add_segmentation": True},
            **options.env_kwargs,
        }
        if options.rgb_overlay is not None:
            arguments["rgb_overlay_path"] = str(overlays / options.rgb_overlay)
            arguments["rgb_overlay_cameras"] = ["3rd_view_camera" if widowx else "overhead_camera"]
        if options.ray_tracing:
            arguments["shader_dir"] = "rt"
        return arguments

    def _max_steps(self) -> int:
        if self._options is not None:
            return self._options.max_episode_steps
        return EPISODES[self._name][1] if self._name in EPISODES else SEEDED_STEPS[self._name]

    def _wants_ray_tracing(self) -> bool:
        return self._options.ray_tracing if self._options is not None else "drawer" in self._name
