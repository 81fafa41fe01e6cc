"""The process that holds one SimplerEnv environment: `python -m simpler_original.worker FD`, FD its end of a socket.

Runs in the environment that `installation` made (numpy < 2, gymnasium < 1, SAPIEN 2.2.2). It answers `make`, `reset`,
`step`, `render_large`; a failed request is answered with "error" and leaves the process ready for the next. It ends
when the other side closes the socket.

Quaternions inside SAPIEN are wxyz; everything that leaves this file is xyzw, in the robot's base frame.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import traceback
from typing import Any

import numpy as np

from .protocol import VERSION, Message, PeerClosedError, receive, send

ANSWER_TIMEOUT_S = 30.0
IGNORED_ACTORS = ("ground", "goal_site", "", "arena")
"""as SimplerEnv itself leaves them out when it lays the photograph under the scene"""


class SimplerEnvironment:
    """One SimplerEnv environment, used again for every episode.

    Args:
        env_id: gymnasium id, or None for a task that SimplerEnv's own `make` configures.
        task: SimplerEnv's name of the task; used when `env_id` is None.
        arguments: keyword arguments of the environment.
        images: False leaves rendering of observations out.
        rasterise: rasterises where the task asks for ray tracing, which takes minutes a picture without a GPU.
    """

    def __init__(self, env_id: str | None, task: str, arguments: dict[str, Any], images: bool, rasterise: bool) -> None:
        import gymnasium
        import simpler_env
        from mani_skill2_real2sim.envs.custom_scenes.base_env import CustomSceneEnv
        from mani_skill2_real2sim.envs.sapien_env import BaseEnv

        # Its one camera, 128 x 128, shows nothing that anybody reads, and costs a picture per step.
        CustomSceneEnv._register_cameras = lambda self: []
        if rasterise:
            # At the root of the classes: the set-ups that SimplerEnv ships override what is asked for at the top.
            construct = BaseEnv.__init__
            BaseEnv.__init__ = lambda self, **given: construct(self, **{**given, "shader_dir": "ibl"})
        if env_id is None:
            env_id, own = simpler_env.ENVIRONMENT_MAP[task]
            arguments = {**own, "prepackaged_config": True, **arguments}
        arguments["obs_mode"] = "image" if images else "none"
        self.env = gymnasium.make(env_id, **arguments).unwrapped
        self.images = images
        self.camera = "overhead_camera" if "google_robot" in self.env.robot_uid else "3rd_view_camera"

    def reset(self, seed: int | None, options: dict[str, Any]) -> dict[str, Any]:
        # The state of the generator that a new environment would have, so that using it again changes nothing.
        self.env.set_main_rng(2022)
        # Built anew (the renderer stays): objects that were pushed, and contacts, would otherwise carry over.
        observation, _ = self.env.reset(seed=seed, options={**options, "reconfigure": True})
        return observation

    def step(self, action: np.ndarray, render: bool) -> tuple[dict[str, Any], bool]:
        self.env._obs_mode = "image" if self.images and render else "none"
        observation, _, done, _, _ = self.env.step(action)
        return observation, bool(done)

    def picture(self, observation: dict[str, Any]) -> np.ndarray | None:
        """The policy's camera as SimplerEnv's own observation wrapper turns it into bytes: (H, W, 3) uint8."""
        if "image" not in observation:
            return None
        colour = observation["image"][self.camera]["Color"][..., :3]
        return np.clip(colour * 255, 0, 255).astype(np.uint8)

    def render_large(self) -> np.ndarray:
        """The policy's camera now, without the photograph: what is really simulated."""
        self.env.update_render()
        camera = self.env._cameras[self.camera]
        colour = camera.get_images(take_picture=True)["Color"][..., :3]
        return np.clip(colour * 255, 0, 255).astype(np.uint8)

    def state(self) -> dict[str, Any]:
        """End effector, objects, joints and instruction, JSON-ready."""
        base = self.env.agent.robot.pose.inv()
        controllers = self.env.agent.controller.controllers
        arm, gripper = controllers["arm"], controllers["gripper"]
        measured = arm.ee_pose_at_base
        target = arm._target_pose if arm._target_pose is not None else measured
        names = [joint.name for joint in self.env.agent.robot.get_active_joints()]
        return {
            "position": measured.p.tolist(),
            "quaternion_xyzw": xyzw(measured.q),
            "target_position": target.p.tolist(),
            "target_quaternion_xyzw": xyzw(target.q),
            "gripper": self._opening(gripper.qpos),
            "gripper_target": self._opening([joint.get_drive_target() for joint in gripper.joints]),
            "joints": dict(zip(names, np.asarray(self.env.agent.robot.get_qpos(), dtype=float).tolist(), strict=True)),
            "objects": {
                actor.name: [pose.p.tolist(), xyzw(pose.q)]
                for actor in self.env.get_actors()
                if actor.name not in IGNORED_ACTORS
                for pose in [base * actor.pose]
            },
            "instruction": self.env.get_language_instruction(),
        }

    def describe(self) -> dict[str, Any]:
        """What does not change: camera, rates."""
        camera = self.env._cameras[self.camera].camera
        # base -> camera: the camera is fixed to the robot.
        extrinsics = np.vstack([camera.get_extrinsic_matrix()[:3], [0, 0, 0, 1]])
        extrinsics = extrinsics @ self.env.agent.robot.pose.to_transformation_matrix()
        return {
            "robot": self.env.robot_uid,
            "image_height": camera.height,
            "image_width": camera.width,
            "camera_intrinsics": camera.get_intrinsic_matrix()[:3, :3].tolist(),
            "camera_extrinsics": extrinsics.tolist(),
            "control_freq": self.env.control_freq,
            "table_height_m": float(self.env.scene_table_height - self.env.agent.robot.pose.p[2]),
        }

    def _opening(self, positions: Any) -> float:
        """0 closed ... 1 open, from the finger joints: WidowX 0.015 ... 0.037 m, Google's 1.3 ... 0 rad."""
        closed, opened = (0.015, 0.037) if "widowx" in self.env.robot_uid else (1.3, 0.0)
        return float(np.clip((np.mean(positions) - closed) / (opened - closed), 0.0, 1.0))


def xyzw(wxyz: np.ndarray) -> list[float]:
    return [float(wxyz[1]), float(wxyz[2]), float(wxyz[3]), float(wxyz[0])]


def serve(connection: socket.socket) -> None:
    """Answers requests until the other side closes the connection."""
    environment: SimplerEnvironment | None = None
    while True:
        try:
            request = receive(connection, None)
        except PeerClosedError:
            return
        body: dict[str, Any] = {}
        arrays: dict[str, np.ndarray] = {}
        operation = "result"
        try:
            if request.operation == "hello":
                body = versions()
            elif request.operation == "make":
                environment = SimplerEnvironment(**request.body)
            elif environment is None:
                raise RuntimeError(f"{request.operation!r} before 'make'")
            elif request.operation == "reset":
                observation = environment.reset(request.body["seed"], numeric(request.body["options"]))
                body = {"state": environment.state(), "description": environment.describe(), "success": False}
                if (picture := environment.picture(observation)) is not None:
                    arrays["image"] = picture
            elif request.operation == "step":
                observation, success = environment.step(request.arrays["action"], request.body["render"])
                body = {"state": environment.state(), "success": success}
                if (picture := environment.picture(observation)) is not None:
                    arrays["image"] = picture
            elif request.operation == "render_large":
                arrays["image"] = environment.render_large()
            else:
                raise RuntimeError(f"unknown operation {request.operation!r}")
        except Exception as error:
            traceback.print_exc()
            operation, body, arrays = "error", {"kind": type(error).__name__, "message": str(error)}, {}
        send(connection, Message(request.id, operation, body, arrays), ANSWER_TIMEOUT_S)


def numeric(options: Any) -> Any:
    """JSON lists as the arrays that SimplerEnv expects, at any depth."""
    if isinstance(options, dict):
        return {name: numeric(value) for name, value in options.items()}
    return np.array(options) if isinstance(options, list) else options


def versions() -> dict[str, Any]:
    """What answers here."""
    from importlib.metadata import version

    return {
        "protocol": VERSION,
        "python": platform.python_version(),
        "sapien": version("sapien"),
        "numpy": np.__version__,
    }


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    # SimplerEnv and SAPIEN print as they like; all of it belongs into the log.
    os.dup2(2, 1)
    serve(connection)


if __name__ == "__main__":
    main()
