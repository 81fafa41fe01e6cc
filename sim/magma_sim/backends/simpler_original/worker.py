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
        rasterise: rasterises where the task asks for ray tracing, which takes minutes an image without a GPU.

    """

    def __init__(self, env_id: str | None, task: str, arguments: dict[str, Any], images: bool, rasterise: bool) -> None:
        import gymnasium
        import simpler_env
        from mani_skill2_real2sim.envs.custom_scenes.base_env import CustomSceneEnv
        from mani_skill2_real2sim.envs.sapien_env import BaseEnv

        # Its one camera, 128 x 128, shows nothing that anybody reads, and costs an image per step.
        CustomSceneEnv._register_cameras = lambda self: []
        if rasterise:
            # At the root of the classes: the set-ups that SimplerEnv ships override what is asked for at the top.
            construct = BaseEnv.__init__
            BaseEnv.__init__ = lambda self, **given: construct(self, **{**given, "shader_dir": "ibl"})
        if env_id is None:
            env_id, own = simpler_env.ENVIRONMENT_MAP[task]
            arguments = {**own, "prepackaged_config": True, **arguments}
        # Pictures are made by `image`, and only when somebody looks at them.
        self.env = gymnasium.make(env_id, **arguments, obs_mode="none").unwrapped
        self.images = images
        self.camera = "overhead_camera" if "google_robot" in self.env.robot_uid else "3rd_view_camera"
        self._photo: np.ndarray | None = None
        self._shown = np.array([], dtype=np.uint32)

    def reset(self, seed: int | None, options: dict[str, Any]) -> None:
        """Starts an episode. ValueError: it lays the photograph in a way that `image` does not know."""
        # The state of the generator that a new environment would have, so that using it again changes nothing.
        self.env.set_main_rng(2022)
        # Built anew (the renderer stays): objects that were pushed, and contacts, would otherwise carry over.
        self.env.reset(seed=seed, options={**options, "reconfigure": True})
        # Drawer tasks bring a photograph per episode.
        self._photo, self._shown = self._load_photo(), self._in_front_of_the_photo()

    def step(self, action: np.ndarray) -> bool:
        """Whether the goal holds after it."""
        _, _, done, _, _ = self.env.step(action)
        return bool(done)

    def image(self) -> np.ndarray:
        """What SimplerEnv's own evaluation shows a policy, to the bit: (H, W, 3) uint8.

        Its `get_obs` would also copy the position of every pixel, and mix the two images in floating point.
        """
        image = self.render_large()
        if self._photo is not None:
            actors = self.env._cameras[self.camera].camera.get_uint32_texture("Segmentation")[..., 1]
            np.copyto(image, self._photo, where=~np.isin(actors, self._shown)[..., np.newaxis])
        return image

    def render_large(self) -> np.ndarray:
        """The policy's camera now, without the photograph: what is really simulated."""
        self.env.update_render()
        camera = self.env._cameras[self.camera].camera
        camera.take_picture()
        return as_bytes(camera.get_float_texture("Color")[..., :3])

    def _load_photo(self) -> np.ndarray | None:
        """The photograph in the size of the camera's image; None where the whole scene is shown."""
        photo = self.env.rgb_overlay_img
        if photo is None or self.camera not in self.env.rgb_overlay_cameras:
            return None
        if self.env.rgb_overlay_mode != "background":
            raise ValueError(f"rgb_overlay_mode is 'background' here, got {self.env.rgb_overlay_mode!r}")
        import cv2

        camera = self.env._cameras[self.camera].camera
        return as_bytes(cv2.resize(photo, (camera.width, camera.height)).astype(np.float32))

    def _in_front_of_the_photo(self) -> np.ndarray:
        """Numbers of the actors that are not painted over: `CustomSceneEnv.get_obs`."""
        scene, robot, behind = self.env._scene, self.env.agent.robot, self.env.rgb_always_overlay_objects
        actors = [actor for actor in self.env.get_actors() if actor.name not in (*IGNORED_ACTORS, *behind)]
        for articulation in scene.get_all_articulations():
            if articulation is robot or articulation.name not in behind:
                actors += articulation.get_links()
        return np.array([actor.id for actor in actors], dtype=np.uint32)

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


def as_bytes(colour: np.ndarray) -> np.ndarray:
    """Colours 0 ... 1 as SimplerEnv's own observation wrapper turns them into bytes."""
    return np.clip(colour * 255, 0, 255).astype(np.uint8)


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
                body = {"state": environment.state(), "description": environment.describe()}
            elif environment is None:
                raise RuntimeError(f"{request.operation!r} before 'make'")
            elif request.operation == "reset":
                environment.reset(request.body["seed"], numeric(request.body["options"]))
                body = {"state": environment.state(), "success": False}
                if environment.images:
                    arrays["image"] = environment.image()
            elif request.operation == "step":
                success = environment.step(request.arrays["action"])
                body = {"state": environment.state(), "success": success}
                if environment.images and request.body["render"]:
                    arrays["image"] = environment.image()
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
