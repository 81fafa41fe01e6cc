"""Node episode_runner: plays episodes through the running graph and counts successes."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from magma_interfaces.msg import ActionChunk, ActionSpec, ControllerState, EndEffectorDelta, EpisodeStatus
from magma_interfaces.srv import Instruct, ResetEpisode
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from magma_bringup.episodes.episode_video import VideoFrame, write_video
from magma_bringup.episodes.step_times import StepTimes
from magma_bringup.episodes.suite_run import EpisodesRun
from magma_common.conversions import image_from_msg, stamp_to_ns
from magma_common.diagnostics import name_in
from magma_common.instruction_topics import ASK_SERVICE
from magma_common.process.hangup import INTERRUPTS, heed_interrupts
from magma_common.qos import COMMAND, DIAGNOSTICS, SENSOR, STATE
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_contracts.errors import ConfigError

if TYPE_CHECKING:
    from magma_eval.episodes import Episode

CONTROLLER_TOPIC, SPEC_TOPIC, RESET_SERVICE = "magma/controller_state", "magma/action_spec", "magma/reset_episode"
FILM_SERVICE = "magma/film_episode"
CONTENT_S = 3.0
"""Longest wait for the policy's node to tell which policy it is; ours tell it at once, others' may never."""
QUIET_S = 2.0
"""What takes no longer than this to start is not worth a word."""
FIRST_STEPS_S = 3.0
"""A graph that has only just been discovered may need so long before its first step."""
THREAD_END_S = 5.0


class GraphError(RuntimeError):
    """The graph does not do its part; the message says which part and what is known about it."""


@dataclass(frozen=True)
class Start:
    """Where an episode begins."""

    task: str
    variant: str
    layout: int

    def __str__(self) -> str:
        return f"{self.task} {self.variant} {self.layout}"


@dataclass(frozen=True)
class Seen:
    """How an episode went, as seen in the graph."""

    start: Start
    status: EpisodeStatus
    """the last one"""
    instruction: str
    max_steps: int
    policy: str
    duration_s: float
    first_success_step: int | None
    times: StepTimes
    shortened: Mapping[str, int]
    """commands that the safety stage shortened, by limit, and steps that it refused"""
    frames: Sequence[VideoFrame]
    corrected_by: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """commands of operators that were sent to the arm, by device"""


@dataclass(frozen=True)
class RunningPolicy:
    """Which policy acts, as its node tells in /diagnostics."""

    content: str = ""
    """the policy's content (a hash), or the name of a scripted policy; "" for nodes that do not tell"""
    where: str = ""


@dataclass(frozen=True)
class EpisodeRunnerConfig(NodeConfig):
    """Parameters of the node."""

    task: str = parameter("carrot_on_plate", "Task to play.")
    variant: str = parameter("eval", "Layouts to play.", choices=("eval", "random"))
    episodes: int = parameter(10, "Number of episodes.", minimum=1, maximum=100_000)
    first_layout: int = parameter(0, "Layout of the first episode; the others follow.", minimum=0, maximum=2**32 - 1)
    clock: str = parameter("lockstep", "Written into the results.", choices=("lockstep", "realtime"))
    step_period_s: float = parameter(0.2, "Of the task; gives the videos their speed.", minimum=0.001)
    success_hold_steps: int = parameter(0, "As the simulator has it; written into the results.", minimum=0)
    out: str = parameter("runs/demo", "Folder of the run: results and videos.")
    videos: bool = parameter(True, "Whether to write a video of each episode.")
    suite: str = parameter("", "Play a suite of the evaluator, such as simpler-bridge, instead of `task`.")
    suite_tasks: tuple[str, ...] = parameter((), "Tasks of the suite to play; none = all of them.")
    suite_limit: int = parameter(0, "Play the first so many episodes of each task of the suite; 0 = all.", minimum=0)
    latency_ms: float = parameter(0.0, "Injected latency of the policy; written into the results.", minimum=0.0)
    policy: str = parameter("", "The policy as it was asked for; written into the results.")
    arm: str = parameter("", "Driver of the arm; written into the results.")
    teleop: str = parameter("", "Who may take over; written into the results.")
    control: str = parameter("", "Control experiment, such as blind; written into the results.")
    training: str = parameter("", "How the policy was trained; written into the results.")
    command: str = parameter("", "The command that started all this; written into the results.")
    start_timeout_s: float = parameter(300.0, "Longest wait for the graph to be there, in seconds.", minimum=1.0)
    step_timeout_s: float = parameter(30.0, "Longest wait for the next step, in seconds.", minimum=1.0)

    def check(self) -> None:
        if not self.task:
            raise ConfigError("task must be given")
        if self.suite and self.success_hold_steps:
            raise ConfigError("episodes of a suite are played to their last step: success_hold_steps must be 0")


class EpisodeRunner(Node):
    """Resets the simulator, gives the instruction, watches the episode to its end, and measures.

    An executor spins it in a thread of its own; `episode` is called from another.
    """

    def __init__(self) -> None:
        super().__init__("episode_runner", automatically_declare_parameters_from_overrides=True)
        self.config = NodeParameters(self, EpisodeRunnerConfig).config
        self.times = StepTimes()
        self._changed = threading.Condition()
        self._spec: ActionSpec | None = None
        self._controller: ControllerState | None = None
        self._status: EpisodeStatus | None = None
        self._troubles: dict[str, str] = {}
        self._running: RunningPolicy | None = None
        self._began_with: RunningPolicy | None = None
        self._senders: Counter[str] = Counter()
        self._commands = 0
        self._images: dict[int, Image] = {}
        self._frames: dict[int, VideoFrame] = {}
        self._first_success_step: int | None = None
        self._episode_times = StepTimes()
        self._graph_ended: Callable[[], str | None] = lambda: None

        self._instruct = self.create_client(Instruct, ASK_SERVICE)
        self._reset = self.create_client(ResetEpisode, RESET_SERVICE)
        self._film = self.create_client(Trigger, FILM_SERVICE)
        self._policy_parameters = self.create_client(SetParameters, "policy/set_parameters")
        self._told_robot: str | None = None
        self.create_subscription(ActionSpec, SPEC_TOPIC, self._on_spec, STATE)
        self.create_subscription(ControllerState, CONTROLLER_TOPIC, self._on_controller, STATE)
        self.create_subscription(ActionChunk, "magma/action_chunk", self._on_chunk, COMMAND)
        self.create_subscription(EndEffectorDelta, "magma/command", self._on_command, COMMAND)
        self.create_subscription(EpisodeStatus, "magma/episode_status", self._on_status, STATE)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, DIAGNOSTICS)
        if self.config.videos:
            self.create_subscription(Image, "camera/image_raw", self._on_image, SENSOR)

    def watch_over(self, ended: Callable[[], str | None]) -> None:
        """Makes `episode` give up as soon as `ended` says why the graph has ended; None while it has not."""
        self._graph_ended = ended

    # Executor's thread.

    def _on_spec(self, spec: ActionSpec) -> None:
        with self._changed:
            self._spec = spec
            self._changed.notify_all()

    def _on_controller(self, state: ControllerState) -> None:
        with self._changed:
            self._controller = state
            self._changed.notify_all()

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            name = name_in(self.get_namespace(), status.name)
            if name is None:
                continue  # another robot's
            values = {item.key: item.value for item in status.values}
            if "content" in values:
                with self._changed:
                    self._running = RunningPolicy(values["content"], values.get("where", ""))
                    self._changed.notify_all()
            if status.level in (DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE):
                self._troubles[name] = status.message
            else:
                self._troubles.pop(name, None)

    def _on_chunk(self, chunk: ActionChunk) -> None:
        if chunk.refusal:
            return
        stages = {stage.name: float(stage.duration_ms) for stage in chunk.stages}
        for times in (self.times, self._episode_times):
            times.chunk(stamp_to_ns(chunk.header.stamp), stages)

    def _on_command(self, command: EndEffectorDelta, info: Mapping[str, int]) -> None:
        # When the controller sent it, by the middleware's own stamp: this node's delays are none of the robot's.
        sent_ns = info["source_timestamp"] or self.get_clock().now().nanoseconds
        for times in (self.times, self._episode_times):
            times.command(stamp_to_ns(command.header.stamp), sent_ns)
        with self._changed:
            self._commands += 1
            self._senders[command.source] += 1
            self._changed.notify_all()

    def _on_image(self, image: Image) -> None:
        self._images[stamp_to_ns(image.header.stamp)] = image
        while len(self._images) > 8:
            self._images.pop(next(iter(self._images)))
        self._join_image()

    def _on_status(self, status: EpisodeStatus) -> None:
        before = self._status
        if before is None or status.step < before.step or _episode_of(status) != _episode_of(before):
            self.times.pause()
            self._episode_times = StepTimes()
            self._frames = {}
            self._first_success_step = None
        elif status.step != before.step:
            for times in (self.times, self._episode_times):
                times.step(stamp_to_ns(status.header.stamp))
        with self._changed:
            self._status = status
            if status.success and self._first_success_step is None:
                self._first_success_step = int(status.step)
            self._changed.notify_all()
        self._join_image()

    def _join_image(self) -> None:
        """Picture and status come by different ways, in either order, with one stamp."""
        status = self._status
        if status is None:
            return
        image = self._images.get(stamp_to_ns(status.header.stamp))
        if image is not None and status.step not in self._frames:
            # A copy: the message's memory belongs to the middleware.
            pixels = image_from_msg(image).copy()
            self._frames[int(status.step)] = VideoFrame(pixels, int(status.step), bool(status.success))

    # The thread that plays.

    def rest(self) -> None:
        """Nobody acts any more."""
        self._ask_for("")

    def wait_for_graph(self, on_part: Callable[[str], None] = lambda part: None) -> None:
        """Returns when every part of the graph is there; GraphError when one is missing for too long."""
        started_s = time.monotonic()
        deadline_s = started_s + self.config.start_timeout_s
        topic, service = self.resolve_topic_name, self.resolve_service_name
        keeper = f"the instruction keeper (service {service(ASK_SERVICE)})"
        for node, what, there in (
            ("controller", f"the controller (topic {topic(CONTROLLER_TOPIC)})", lambda: self._controller is not None),
            ("policy", f"the policy (topic {topic(SPEC_TOPIC)})", lambda: self._spec is not None),
            ("simulator", f"the simulator (service {service(RESET_SERVICE)})", self._reset.service_is_ready),
            ("instruction_keeper", keeper, self._instruct.service_is_ready),
        ):
            told, look_s = "", time.monotonic() + QUIET_S
            while not there():
                if time.monotonic() > look_s:
                    # Once, and again whenever the nodes say something else.
                    look_s = time.monotonic() + 1.0
                    patience = f"building and loading; give up after {self.config.start_timeout_s:g} s"
                    known = self._known(patience, first_of=node)
                    # Not for an age that has grown: the numbers in it are left out.
                    if (said := re.sub(r"[\d.]+", "", known)) != told:
                        told = said
                        on_part(f"  after {time.monotonic() - started_s:4.1f} s  waiting for {what}: {known}")
                if time.monotonic() > deadline_s:
                    waited = f"{self.config.start_timeout_s:g} s"
                    raise GraphError(f"{what} is not there after {waited}: {self._known(first_of=node)}")
                self._check_running()
                time.sleep(0.02)
            on_part(f"  after {time.monotonic() - started_s:4.1f} s  {what} is there")
        with self._changed:
            self._changed.wait_for(lambda: self._running is not None, timeout=CONTENT_S)
        self._began_with = self._running

    def episode(self, start: Start) -> Seen:
        """Plays one episode; raises GraphError when a part of the graph does not go on."""
        # Without an instruction nobody acts while the world changes.
        self._ask_for("")
        answer = self._call_reset(start)
        self._tell_policy(answer.robot)
        self._check_policy()
        started_s = time.monotonic()
        counts = self._counts()
        self._senders.clear()
        self._ask_for(answer.instruction)
        status = self._watch(start)
        self._check_policy()
        spec = self._spec
        policy = spec.policy if spec is not None else ""
        return Seen(
            start=start,
            status=status,
            instruction=answer.instruction,
            max_steps=int(answer.max_steps),
            policy=policy,
            duration_s=time.monotonic() - started_s,
            first_success_step=self._first_success_step,
            times=self._episode_times,
            shortened={name: n - counts.get(name, 0) for name, n in self._counts().items() if n > counts.get(name, 0)},
            frames=[self._frames[step] for step in sorted(self._frames)],
            corrected_by={name: n for name, n in sorted(self._senders.items()) if name and name != policy},
        )

    def _check_policy(self) -> None:
        """GraphError when another policy acts than the run began with: its episodes are not to be counted together."""
        before, now = self._began_with, self._running
        if before is not None and now is not None and now.content != before.content:
            raise GraphError(
                f"the policy was exchanged: the run began with content {before.content[:12]} ({before.where}), and now "
                f"{now.content[:12]} ({now.where}) acts"
            )

    def episode_of_suite(self, episode: Episode) -> Seen:
        """Plays an episode of a suite of the evaluator."""
        return self.episode(Start(episode.make, episode.reset_variant, episode.layout))

    @property
    def running(self) -> RunningPolicy:
        """Which policy the run began with."""
        return self._began_with or RunningPolicy()

    @property
    def policy(self) -> str:
        """Name that the policy announced; empty before it is there."""
        return self._spec.policy if self._spec is not None else ""

    def _counts(self) -> dict[str, int]:
        """What the safety stage refused and shortened so far."""
        state = self._controller
        if state is None:
            return {}
        return dict(zip(state.rejection_reasons, (int(n) for n in state.rejection_counts), strict=True))

    def film(self, path: Path, seen: Seen, on_part: Callable[[str], None]) -> None:
        """Writes the film of the episode that has just ended.

        It is the simulator's own, larger than what the policy saw; where that makes none, of the camera's images.

        Raises:
            GraphError: the simulator does not answer.
        """
        film = self.resolve_service_name(FILM_SERVICE)
        why = f"the simulator serves no {film}"
        if self._film.service_is_ready():
            # Nobody acts while the world shows what is over.
            self.rest()
            answer = self._call(self._film, Trigger.Request(), f"the simulator did not finish {film}")
            if answer.success:
                shutil.move(answer.message, path)
                return
            why = answer.message
        on_part(f"film of {seen.start} from the camera's own pictures: {why}")
        frames, fps = seen.frames, 1.0 / self.config.step_period_s
        write_video(path, frames, fps, seen.instruction, seen.max_steps, seen.policy)

    def _ask_for(self, instruction: str) -> None:
        """Returns once the instruction is in force."""
        request = Instruct.Request(instruction=instruction, asked_by=self.get_name())
        request.asked = self.get_clock().now().to_msg()
        name = self.resolve_service_name(ASK_SERVICE)
        answer = self._call(self._instruct, request, f"the instruction keeper did not answer {name}")
        if not answer.accepted:
            raise GraphError(f"the instruction keeper refused {instruction!r}: {answer.message}")

    def _call_reset(self, start: Start) -> ResetEpisode.Response:
        request = ResetEpisode.Request(task=start.task, variant=start.variant, layout=start.layout)
        name = self.resolve_service_name(RESET_SERVICE)
        answer = self._call(self._reset, request, f"the simulator did not answer {name}")
        if not answer.success:
            raise GraphError(f"the simulator refused {start}: {answer.message}")
        return answer

    def _tell_policy(self, robot: str) -> None:
        """Which robot the policy acts for now. Scripted policies have no such parameter and need none."""
        if robot == self._told_robot or not self._policy_parameters.service_is_ready():
            return
        request = SetParameters.Request(parameters=[Parameter("task_robot", value=robot).to_parameter_msg()])
        answer = self._call(self._policy_parameters, request, "the policy did not take its parameter task_robot")
        for result in answer.results:
            if not result.successful:
                raise GraphError(f"the policy refuses task_robot={robot!r}: {result.reason}")
        self._told_robot = robot

    def _call(self, client: Client, request: Any, silent: str) -> Any:
        """The answer of a service; GraphError, which begins with `silent`, when none comes."""
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        deadline_s = time.monotonic() + self.config.start_timeout_s
        while not answered.wait(0.2):
            self._check_running()
            if time.monotonic() > deadline_s:
                raise GraphError(f"{silent}: {self._known()}")
        return future.result()

    def _watch(self, start: Start) -> EpisodeStatus:
        """Waits for the end of the episode; the last status of it."""
        config = self.config
        began = False
        last_progress: tuple[int, int] | None = None
        deadline_s = time.monotonic() + config.step_timeout_s + FIRST_STEPS_S
        with self._changed:
            while True:
                status = self._status
                if status is not None and _episode_of(status) == start:
                    # The end of an episode before, on the same layout, must not count.
                    began = began or not status.done
                    if began and status.done:
                        return status
                    # In real time the world goes on by itself: only commands show that somebody acts.
                    progress = (int(status.step), self._commands)
                    if last_progress is None or (progress[0] != last_progress[0] and progress[1] != last_progress[1]):
                        last_progress = progress
                        deadline_s = time.monotonic() + config.step_timeout_s
                if time.monotonic() > deadline_s:
                    silence = f"no step for {config.step_timeout_s:g} s"
                    raise GraphError(f"{silence} in {start}: {self._known()}")
                self._check_running()
                self._changed.wait(timeout=0.2)

    def _check_running(self) -> None:
        if not rclpy.ok():
            raise ExternalShutdownException
        if (why := self._graph_ended()) is not None:
            raise GraphError(f"the robot graph has ended: {why}")

    def _known(
        self, otherwise: str = "no node reports a problem; look at the output of the launch", first_of: str = ""
    ) -> str:
        """What the nodes say about themselves: the node that is waited for, when it says something, else all."""
        if first_of in self._troubles:
            return self._troubles[first_of]
        parts = []
        if self._controller is not None:
            parts.append(f"controller: {self._controller.reason}")
        parts += [f"{name}: {message}" for name, message in sorted(self._troubles.items()) if name != "controller"]
        return "; ".join(parts) if parts else otherwise


def _episode_of(status: EpisodeStatus) -> Start:
    return Start(status.task, status.variant, int(status.layout))


def run(node: EpisodeRunner, say: Callable[[str], None] = print) -> int:
    """Plays the node's episodes and says how it goes; exit status."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException, ShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, name="executor", daemon=True)
    thread.start()
    episodes, status = EpisodesRun(node), 0
    try:
        episodes.play(say)
    except (GraphError, ValueError) as error:
        say(f"error: {error}")
        status = 1
    except (KeyboardInterrupt, ExternalShutdownException):
        say("interrupted")
        status = 130
    finally:
        executor.shutdown(timeout_sec=1.0)
        # The interpreter must not end around a thread that is inside of ROS: that aborts the process.
        thread.join(THREAD_END_S)
    if table := episodes.summary():
        say(table)
    return status


def main(args: list[str] | None = None) -> None:
    """Entry point: status 0 when the graph did its work, whatever the success rate; 130 when it was interrupted."""
    heed_interrupts()
    node: EpisodeRunner | None = None
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = EpisodeRunner()
        status = run(node, lambda text: print(text, flush=True))
    except ConfigError as error:
        print(f"error: {error}", flush=True)
        status = 2
    except KeyboardInterrupt:
        status = 130
    finally:
        for number in INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    raise SystemExit(status)


if __name__ == "__main__":
    main()
