"""Node simulator: the camera and the arm of the robot graph, in a simulated world."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from magma_interfaces.msg import ActionSpec, EpisodeStatus
from magma_interfaces.msg import EndEffectorDelta as EndEffectorDeltaMsg
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from magma_interfaces.srv import ResetEpisode
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from magma_common.conversions import action_spec_from_msg, delta_from_msg, image_to_msg, ns_to_stamp, state_to_msg
from magma_common.diagnostics import ERROR, OK, DiagnosticsPublisher, Report
from magma_common.process.node_main import end_process, run_node
from magma_common.qos import EVERY_COMMAND, ROBOT_STATE, SENSOR, STATE, TRANSFORMS, TRANSFORMS_STATIC
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_common.transforms.frames import FRAME_PREFIX_HELP, FRAME_PREFIX_OF_NAMESPACE, frame_prefix
from magma_contracts.actions import GRIPPER, EndEffectorDelta
from magma_contracts.errors import ConfigError
from magma_contracts.geometry.motions import total
from magma_sim_ros import messages
from magma_sim_ros.episode import VARIANTS, Episode, EpisodeSettings, record_name
from magma_sim_ros.spec_agreement import disagreement

if TYPE_CHECKING:
    from magma_sim import Task

PENDING_MOST = 2
"""Commands for one step of a world that goes on by itself: two fall into one step where the rhythms of controller and
world shift against each other. What comes more often than that is no robot's controller: the newest count."""


@dataclass(frozen=True)
class SimulatorConfig(NodeConfig):
    """Parameters of the node."""

    task: str = parameter("carrot_on_plate", "Task of the first episode.", read_only=True)
    variant: str = parameter("eval", "Layouts of the first episode.", choices=VARIANTS, read_only=True)
    layout: int = parameter(0, "Layout of the first episode.", minimum=0, maximum=2**32 - 1, read_only=True)
    clock: str = parameter(
        "lockstep",
        "lockstep: one command moves the world by one step period, without commands it stands still; "
        "realtime: it moves on by itself.",
        choices=("lockstep", "realtime"),
        read_only=True,
    )
    republish_s: float = parameter(
        0.5,
        "Lock-step: publish the standing world again after so many seconds, so that a lost frame stops nothing. "
        "Longer than the policy takes for an action.",
        minimum=0.05,
        maximum=60.0,
        read_only=True,
    )
    success_hold_steps: int = parameter(
        0, "End an episode when the goal held at so many steps in a row; 0 = play all steps.", minimum=0, read_only=True
    )
    after_episode: str = parameter(
        "continue",
        "continue: the world goes on; stop: it stands still until the next reset; reset: the next layout begins.",
        choices=("continue", "stop", "reset"),
        read_only=True,
    )
    image_size: tuple[int, int] = parameter(
        (0, 0),
        "Height and width of the pictures where the suite can choose; 0 0 = its own.",
        minimum=0,
        maximum=2048,
        read_only=True,
    )
    frame_prefix: str = parameter(FRAME_PREFIX_OF_NAMESPACE, FRAME_PREFIX_HELP, read_only=True)
    record: str = parameter(
        "",
        "Folder for what was executed in each episode (actions, success), one file each; empty = none is written.",
        read_only=True,
    )
    freeze_camera: bool = parameter(False, "Fault injection: the camera repeats its last picture under new stamps.")

    def check(self) -> None:
        if (self.image_size[0] == 0) != (self.image_size[1] == 0):
            raise ConfigError(f"image_size is height and width, or 0 0, not {list(self.image_size)}")

    def task_options(self) -> dict[str, object]:
        """Options of the tasks."""
        return {"image_size": self.image_size} if self.image_size[0] else {}

    def episode_settings(self) -> EpisodeSettings:
        """The part that the episode uses."""
        return EpisodeSettings(
            lockstep=self.clock == "lockstep",
            success_hold_steps=self.success_hold_steps,
            stop_when_done=self.after_episode == "stop",
        )


class Simulator(Node):
    """Publishes what camera and arm would; moves on magma/command only. See the package's README."""

    REPORTS_END_EFFECTOR = True
    """whether this arm does its own kinematics and reports the end effector; otherwise the controller does"""

    def __init__(self) -> None:
        super().__init__("simulator", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, SimulatorConfig)
        config = self._node_parameters.config
        self._lockstep = config.clock == "lockstep"
        self._prefix = frame_prefix(config.frame_prefix, self.get_namespace())
        self._refused: Counter[str] = Counter()
        self._spec_problem: str | None = None
        self._spec: ActionSpec | None = None
        self._pending: deque[EndEffectorDelta] = deque(maxlen=PENDING_MOST)
        self._shown: NDArray[np.uint8] | None = None
        self._published_ns = 0
        self._steps = 0
        self._recorded = False
        self._camera_of = ""

        self.get_logger().info(f"building the world for {config.task} …")
        self._episode = Episode(self._make_task, config.episode_settings())
        self._begin_first(config)
        spec = self._episode.task.spec

        if self.REPORTS_END_EFFECTOR:
            self._state = self.create_publisher(EndEffectorStateMsg, "magma/end_effector_state", ROBOT_STATE)
        self._joints = self.create_publisher(JointState, "joint_states", ROBOT_STATE)
        self._transforms = self.create_publisher(TFMessage, "/tf", TRANSFORMS)
        self._static = self.create_publisher(TFMessage, "/tf_static", TRANSFORMS_STATIC)
        self._image = self.create_publisher(Image, "camera/image_raw", SENSOR)
        self._info = self.create_publisher(CameraInfo, "camera/camera_info", SENSOR)
        self._status = self.create_publisher(EpisodeStatus, "magma/episode_status", STATE)
        self._diagnostics = DiagnosticsPublisher(self, self._report, hardware_id=spec.suite)
        self.create_subscription(ActionSpec, "magma/action_spec", self._on_spec, STATE)
        self.create_subscription(EndEffectorDeltaMsg, "magma/command", self._on_command, EVERY_COMMAND)
        self.create_service(ResetEpisode, "magma/reset_episode", self._on_reset)
        self.create_service(Trigger, "magma/film_episode", self._on_film)
        self._publish_camera_pose()
        self._publish()
        if self._lockstep:
            # Ten looks per republishing period, so that the wait is never much longer than asked for.
            self.create_timer(config.republish_s / 10, self._republish)
        else:
            self.create_timer(self._tick_period_s(), self._tick)
        self.get_logger().info(f"{config.clock} simulation of {spec.suite}/{spec.task} is running")

    def _begin_first(self, config: SimulatorConfig) -> None:
        """The first episode; ConfigError when there is no such task or layout, or this machine cannot simulate it."""
        from magma_sim import SimulatorUnavailableError

        try:
            self._episode.reset(config.task, config.variant, config.layout)
        except (ValueError, SimulatorUnavailableError) as error:
            raise ConfigError(f"node {self.get_name()}: {error}") from error

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    # What a simulator of another arm does differently.

    def _make_task(self, name: str) -> Task:
        from magma_sim import make_task  # here, because SAPIEN takes seconds to load

        return make_task(name, **self._node_parameters.config.task_options())

    def _tick_period_s(self) -> float:
        """Real time: seconds between two calls of `_tick`."""
        return self._episode.task.spec.step_period_s

    def _publish_arm(self, stamp_ns: int) -> None:
        """What the arm's driver reports."""
        observation, spec = self._episode.observation, self._episode.task.spec
        self._state.publish(state_to_msg(messages.end_effector_state(observation, stamp_ns, spec.frame)))
        self._joints.publish(messages.joint_state(self._episode.task.joint_positions, ns_to_stamp(stamp_ns)))

    # Moving the world.

    def _on_command(self, message: EndEffectorDeltaMsg) -> None:
        command = delta_from_msg(message)
        refusal = self._episode.refusal(command.stamp_ns)
        if refusal is None and self._spec_problem is not None:
            refusal = "the policy's spec disagrees with the task"
        if refusal is None and command.frame not in ("", self._episode.task.spec.frame):
            refusal = f"its frame {command.frame!r} is not {self._episode.task.spec.frame!r}"
        if refusal is not None:
            self._refuse(refusal)
        elif self._lockstep:
            self._advance(command)
        else:
            self._pending.append(command)

    def _take_pending(self) -> EndEffectorDelta | None:
        """Real time: the command that moves the arm's target as those do that have come since the last step."""
        if len(self._pending) < 2:
            return self._pending.popleft() if self._pending else None
        newest = self._pending[-1]
        delta = np.append(total(np.array([command.delta for command in self._pending])), newest.delta[GRIPPER])
        self._pending.clear()
        return replace(newest, delta=delta)

    def _tick(self) -> None:
        """Real time: one step period has passed, command or not."""
        # A command that comes from here on is not shown by the picture of this step, however long that takes to make.
        moved_ns = self._now_ns()
        command = self._take_pending()
        if self._episode.done and self._node_parameters.config.after_episode == "stop":
            self._publish(moved_ns)
        else:
            self._advance(command, moved_ns)

    def _advance(self, command: EndEffectorDelta | None, moved_ns: int | None = None) -> None:
        """One step; `moved_ns`: when its commands were taken up, where that is not when it is published."""
        try:
            if command is None:
                self._episode.step(None)
            else:
                self._episode.step(command.delta, command.stamp_ns)
        except ValueError as error:
            self.get_logger().error(f"command refused: {error}")
            self._refused["not an action"] += 1
            return
        self._steps += 1
        if self._episode.done:
            # Before anybody is told that the episode has ended.
            self._write_record()
        self._publish(moved_ns)
        if self._episode.done and self._node_parameters.config.after_episode == "reset":
            self._begin("", "", self._episode.next_layout())

    def _record_path(self) -> Path | None:
        """Where what was executed in this episode is written to; None for nowhere."""
        folder, episode = self._node_parameters.config.record, self._episode
        return Path(folder) / record_name(episode.task.spec.task, episode.variant, episode.layout) if folder else None

    def _write_record(self) -> None:
        path, episode = self._record_path(), self._episode
        if path is None or self._recorded:
            return
        self._recorded = True
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            episode.record().write(path)
        except OSError as error:
            self.get_logger().error(f"cannot write {path}: {error}")

    def _refuse(self, reason: str) -> None:
        if not self._refused[reason]:
            self.get_logger().info(f"command refused: {reason}")
        self._refused[reason] += 1

    # Publishing it.

    def _publish_camera_pose(self) -> None:
        """Where the task's camera is, when that is not known yet."""
        spec = self._episode.task.spec
        if self._camera_of == spec.task:
            return
        self._camera_of = spec.task
        stamp = self.get_clock().now().to_msg()
        self._static.publish(TFMessage(transforms=[messages.camera_transform(spec, stamp, self._prefix)]))

    def _republish(self) -> None:
        if self._now_ns() - self._published_ns >= self._node_parameters.config.republish_s * 1e9:
            self._publish()

    def _publish(self, stamp_ns: int | None = None) -> None:
        """State before picture, all with one stamp, by default of now."""
        observation, spec = self._episode.observation, self._episode.task.spec
        stamp_ns = self._now_ns() if stamp_ns is None else stamp_ns
        stamp = ns_to_stamp(stamp_ns)
        self._published_ns = stamp_ns
        self._episode.published(stamp_ns)
        self._publish_arm(stamp_ns)
        self._transforms.publish(messages.transforms(observation, stamp, spec.frame, self._prefix))
        if observation.image is None:
            raise RuntimeError("the task was made without pictures; the simulator node is also the camera")
        if not self._node_parameters.config.freeze_camera or self._shown is None:
            self._shown = observation.image
        self._image.publish(image_to_msg(self._shown, stamp_ns, self._prefix + messages.CAMERA_FRAME))
        self._status.publish(messages.episode_status(self._episode, stamp))
        self._info.publish(messages.camera_info(spec, stamp, self._prefix))

    # Episodes.

    def _on_reset(self, request: ResetEpisode.Request, response: ResetEpisode.Response) -> ResetEpisode.Response:
        try:
            self._begin(request.task, request.variant, request.layout)
        except (ValueError, RuntimeError) as error:
            response.success = False
            response.message = str(error)
            return response
        spec = self._episode.task.spec
        response.success = self._spec_problem is None
        response.message = "" if self._spec_problem is None else f"policy and task disagree about {self._spec_problem}"
        response.instruction = spec.instruction
        response.robot = spec.robot
        response.max_steps = spec.max_steps
        return response

    def _on_film(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """The world stands still meanwhile; the answer's message is the film's path, or why there is none."""
        path = self._record_path()
        if path is None:
            response.message = (
                "films go beside the records of the episodes: start the simulator with `record`, a folder"
            )
            return response
        film = path.with_suffix(".mp4")
        try:
            film.parent.mkdir(parents=True, exist_ok=True)
            self._episode.film(film)
        except (ValueError, OSError) as error:
            response.message = str(error)
            return response
        response.success, response.message = True, str(film.resolve())
        return response

    def _begin(self, task: str, variant: str, layout: int) -> None:
        self._episode.reset(task, variant, layout)
        self._pending.clear()
        self._recorded = False
        self._check_spec()
        self._publish_camera_pose()
        self._publish()

    def _on_spec(self, spec: ActionSpec) -> None:
        self._spec = spec
        self._check_spec()

    def _check_spec(self) -> None:
        if self._spec is None:
            return
        problem = disagreement(action_spec_from_msg(self._spec), self._episode.task.spec)
        if problem != self._spec_problem:
            self._spec_problem = problem
            self._diagnostics.update()

    def _report(self) -> Report:
        episode = self._episode
        values: dict[str, object] = {
            "task": episode.task.spec.task,
            "episode step": episode.observation.step,
            "steps in all": self._steps,
        }
        values.update({f"refused: {reason}": count for reason, count in self._refused.items()})
        if self._spec_problem is not None:
            return Report(ERROR, f"policy and task disagree about {self._spec_problem}; commands are refused", values)
        return Report(OK, "simulating", values)


def main() -> None:
    """Entry point; ends the process."""
    end_process(run_node(Simulator))


if __name__ == "__main__":
    main()
