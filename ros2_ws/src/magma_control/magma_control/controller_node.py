"""The node `controller`: topics, services and timers around `magma_control.controller.Controller`.

A lifecycle node: the arm gets commands only while it is active. https://design.ros2.org/articles/node_lifecycle.html
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from magma_interfaces.msg import ActionChunk as ActionChunkMsg
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import ControllerJournal, ControllerState
from magma_interfaces.msg import EndEffectorDelta as EndEffectorDeltaMsg
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from magma_common import diagnostics, qos
from magma_common.conversions import (
    action_spec_from_msg,
    chunk_from_msg,
    delta_from_msg,
    delta_to_msg,
    ns_to_stamp,
    stamp_to_ns,
    state_from_msg,
    state_to_msg,
)
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.instruction_topics import ASK_TOPIC, InstructionListener
from magma_common.message_sizes import JOINTS, SMALL, TEXT
from magma_common.network import unauthenticated_reach
from magma_common.process.clocks import steady_s
from magma_common.process.node_main import run_node
from magma_common.settings.node_config import NodeParameters
from magma_contracts.errors import ConfigError
from magma_control import inputs
from magma_control.commands import Command, Source
from magma_control.config import STEP_ARM, ControllerConfig
from magma_control.controller import Report
from magma_control.freshness import Instant
from magma_control.graph_names import GraphNames
from magma_control.inputs import AnswerT, Input, Outcome
from magma_control.journal import JournaledController
from magma_control.phases import Phase
from magma_control.robots.description_topic import AwaitedError, DescriptionTopic
from magma_control.robots.robot_config import load_robot
from magma_control.runtime.emergency_stop import BUTTON, REARM, SHARED_BUTTON, EmergencyStopLine, StopInputs
from magma_control.runtime.input_limits import chunk_bytes
from magma_control.runtime.latency import LatencyWindow
from magma_control.runtime.log_thread import LogThread
from magma_control.runtime.log_throttle import LogThrottle
from magma_control.runtime.loop import FixedRateLoop
from magma_control.runtime.own_words import OwnWords
from magma_control.runtime.watchdog import Watchdog
from magma_control.safety import Refusal

if TYPE_CHECKING:
    from magma_control.joint_arm import JointArm

HAND_BACK = "magma/hand_back"
EXECUTOR, CONTROL_LOOP = "executor", "control loop"
"""Names of what the watchdog looks after."""
SWITCH_INTERVAL_S = 0.0005
"""Python lets another thread run after so long; a control period has many of them."""
STOP_PATIENCE_S = 0.03
"""The emergency stop waits so long for the core; then it stops the arm past it."""
RIVALS_LOOK_S = 1.0
"""How often the name of another controller is looked up."""
JOURNAL_PERIOD_S = 0.1
REMEMBER_EVERY = 200
"""So many times: the minute of the journal that a late recorder gets holds the core's state more than once."""
LOG_PERIOD_S = 5.0
"""One log line per kind of refusal in this time."""

_LEVELS = {
    Phase.HOLD: diagnostics.WARN,
    Phase.AUTONOMOUS: diagnostics.OK,
    Phase.TELEOP: diagnostics.OK,
    Phase.ESTOP: diagnostics.ERROR,
    Phase.FAULT: diagnostics.ERROR,
}


_WHAT_TO_DO = {
    "unconfigured": "the controller is unconfigured: ros2 lifecycle set {name} configure",
    "inactive": "the controller is inactive: ros2 lifecycle set {name} activate",
    "finalized": "the controller was shut down: start it again",
}
"""For whoever asks why the arm gets no command."""


class ControllerNode(LifecycleNode):
    """Feeds every message to the core as it arrives, ticks it, and publishes what it decides.

    In every state of its life it hears the emergency stop, keeps its latch and says how it is. What it hears of policy,
    operator and arm it hears from the configuration on; commands go out while it is active only, which both the core
    and the publisher see to.

    One lock guards the core (and the joint-level arm). The executor's thread feeds inputs, which are read before the
    lock is taken; the core is ticked by a timer, or, for a joint-level arm, by a control thread of its own. The
    emergency stop has a thread of its own that waits for the lock no longer than a moment; the watchdog's thread takes
    no lock. Log lines are written by another one, since a terminal may take its time.
    """

    def __init__(self) -> None:
        super().__init__("controller", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, ControllerConfig, self._on_config, self._rest_first)
        config = self._node_parameters.config
        if config.shared_estop_button_timeout_s and self.resolve_topic_name(BUTTON) == SHARED_BUTTON:
            raise ConfigError(
                f"shared_estop_button_timeout_s is {config.shared_estop_button_timeout_s:g}, but this controller is in "
                "no namespace, where the shared button is its own: set estop_button_timeout_s"
            )
        self._lock = threading.RLock()
        names = GraphNames(
            rearm=self.resolve_service_name(REARM),
            hand_back=self.resolve_service_name(HAND_BACK),
            instruction=self.resolve_topic_name(ASK_TOPIC),
        )
        self._core = JournaledController(config, self._now(), names)
        self._lifecycle, self._trouble = "unconfigured", ""
        self._rest("unconfigured")
        self._throttle = LogThrottle(LOG_PERIOD_S)
        self._lines = LogThread(self._write_line)
        self._stop_inputs = StopInputs()
        self._own_commands, self._own_states = OwnWords(), OwnWords()
        self._rivals: tuple[str, float] = ("", -math.inf)
        self._latency = LatencyWindow()
        self._published_key: tuple[Any, ...] = ()
        self._changed_parameters: dict[str, Any] = {}
        self._arm: JointArm | None = None
        self._loop: FixedRateLoop | None = None
        self._watchdog: Watchdog | None = None
        self._commands: Any = None
        self._releases: list[Callable[[], object]] = []
        self._description = DescriptionTopic(self, self._on_description)
        self._lockstep = config.arm != STEP_ARM and config.tick_source == "joint_states"
        self._starting = config.autostart
        if (exposed := unauthenticated_reach(os.environ)) is not None:
            self.get_logger().warning(exposed)

        self._states = self.create_publisher(ControllerState, "magma/controller_state", qos.STATE)
        self._until_remembered = REMEMBER_EVERY
        self._journals = self.create_publisher(ControllerJournal, "magma/controller_journal", qos.JOURNAL)
        self._hear(ControllerState, "magma/controller_state", self._on_any_state, qos.STATE, TEXT)
        # The core's own events are logged, so levels need not be.
        diagnostics.DiagnosticsPublisher(self, self._diagnose, log_changes=False)
        self.create_service(Trigger, REARM, self._on_rearm)
        self.create_service(Trigger, HAND_BACK, self._on_hand_back)

        # Steady timers: a clock that is set, or a paused simulation, must not stop the watchdog.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / config.tick_rate_hz, self._on_timer, clock=steady)
        self.create_timer(1.0 / config.state_rate_hz, self._publish_state, clock=steady)
        self.create_timer(JOURNAL_PERIOD_S, self._publish_journal, clock=steady)
        if config.arm != STEP_ARM:
            # A description is heard from the start on, so that a manager who configures at once finds it. What is
            # wrong with the robot's file is said then.
            with contextlib.suppress(ConfigError):
                self._description.listen(load_robot(config.robot).description)
        self._stop_line = EmergencyStopLine(self, self._stop_inputs, self._on_stop_input)
        if self._starting:
            self._start_up()
        self._publish_state()

    # Its life.

    def _start_up(self) -> None:
        """Configures and activates; what is missing for that is in the log and in the state of the controller."""
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Makes everything between the graph and the arm; fails, with the reason, when that cannot be had."""
        try:
            self._configure(self._core.config)
        except AwaitedError as error:
            self._release()
            self._rest("unconfigured", str(error))
            self.get_logger().info(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # a file or an installation can be wrong in any way; the node says so and lives on
            if not isinstance(error, ConfigError):
                self.get_logger().error(traceback.format_exc())
            self._starting = False
            self._release()
            text = str(error) if isinstance(error, ConfigError) else repr(error)
            self._rest("unconfigured", f"the controller could not be configured: {text}")
            self.get_logger().error(self._trouble)
            return TransitionCallbackReturn.FAILURE
        self._starting = False
        self._rest("inactive")
        self.get_logger().info("configured; the arm gets no command before the activation")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lets commands through, once those who watch over them run. Nothing moves by this."""
        result = super().on_activate(state)
        config = self._core.config
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        watchdog = Watchdog(config.executor_timeout_s, self._on_standstill)
        watchdog.watch(EXECUTOR)
        self._watchdog = watchdog
        if self._arm is not None and not self._lockstep:
            self._loop = FixedRateLoop(1.0 / config.control_rate_hz, self._control_tick, CONTROL_LOOP)
            watchdog.watch(CONTROL_LOOP)
            self._loop.start()
        watchdog.start()
        with self._lock:
            if self._arm is not None:
                self._arm.start_anew()
            self._lifecycle, self._trouble = "active", ""
            self._core.handle(inputs.Activate(), self._now())
        self._publish_state()
        self.get_logger().info("active: holding; waiting for a policy, an arm and an instruction")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Brings the arm to rest; from then on it gets no command."""
        self._stand_still("inactive")
        self._publish_state()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Gives back everything that the configuration made. The latch of the emergency stop stays."""
        self._release()
        with self._lock:
            self._core.handle(inputs.Forget(), self._now())
        self._rest("unconfigured")
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state: the arm rests, and everything is given back."""
        self._starting = False
        self._stand_still("finalized")
        self._release()
        self._description.close()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition went wrong in a way that nobody foresaw: back to where nothing can move."""
        self._stand_still("unconfigured", "a transition failed; see the log")
        self._release()
        with self._lock:
            self._core.handle(inputs.Forget(), self._now())
        return super().on_error(state)

    def close(self) -> None:
        """The process ends: the arm is brought to rest as far as it can still be told, and the threads end."""
        try:
            self._stand_still("finalized")
        except Exception as error:  # a driver whose topics are gone already
            self.get_logger().error(f"the brake could not be sent any more: {error}")
        self._stop_line.close()
        self._lines.close()

    def _rest(self, lifecycle: str, trouble: str = "") -> None:
        """From now on nobody moves the arm, and the state of the controller says why."""
        with self._lock:
            self._lifecycle, self._trouble = lifecycle, trouble
            name = self.get_fully_qualified_name()
            self._core.handle(inputs.Deactivate(trouble or _WHAT_TO_DO[lifecycle].format(name=name)), self._now())

    def _stand_still(self, lifecycle: str, trouble: str = "") -> None:
        """As `_rest`, for a controller that may be active: the arm brakes, and nothing commands it any more.

        Without the lock where others are waited for: they may need it to come to their end.
        """
        self._rest(lifecycle, trouble)
        if self._arm is not None:
            self._arm.driver.stop()
        if self._loop is not None:
            self._loop.stop()
            self._loop = None
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None

    def _configure(self, config: ControllerConfig) -> None:
        if config.realtime_priority:
            self._take_priority(config.realtime_priority)
        self._commands = self.create_lifecycle_publisher(EndEffectorDeltaMsg, "magma/command", qos.COMMAND)
        self._releases.append(lambda: self.destroy_lifecycle_publisher(self._commands))
        keep, tell = self._until_release, self._tell
        if config.arm == STEP_ARM:
            keep(
                self._hear(EndEffectorStateMsg, "magma/end_effector_state", tell, qos.ROBOT_STATE, SMALL, _state_heard)
            )
        else:
            self._make_joint_arm(config)
        keep(self._hear(EndEffectorDeltaMsg, "magma/command", self._on_any_command, qos.EVERY_COMMAND, SMALL))
        keep(self._hear(ActionSpecMsg, "magma/action_spec", tell, qos.STATE, TEXT, _spec_heard))
        keep(InstructionListener(self, lambda text: tell(inputs.InstructionHeard(text))))
        most, by = chunk_bytes(config), Source.POLICY
        keep(self._hear(ActionChunkMsg, "magma/action_chunk", tell, qos.COMMAND, most, _chunk_heard, by))
        keep(self._hear(EndEffectorDeltaMsg, "teleop/command", tell, qos.EVERY_COMMAND, SMALL, _operator_heard))
        keep(self._hear(Header, "magma/policy_heartbeat", tell, qos.HEARTBEAT, SMALL, _policy_lives))
        keep(self._hear(Header, "magma/teleop_heartbeat", tell, qos.HEARTBEAT, SMALL, _operator_lives))

    def _until_release(self, heard: ForeignSubscription | InstructionListener) -> None:
        self._releases.append(heard.close)

    def _hear(
        self,
        kind: Any,
        topic: str,
        callback: Callable[[Any], object],
        profile: QoSProfile,
        most_bytes: int,
        convert: Callable[[Any], Any] | None = None,
        source: Source | None = None,
    ) -> ForeignSubscription:
        """Subscribes. What is larger than it may be is refused before it is read.

        Args:
            convert: makes what the callback gets out of the message.
            source: POLICY for action chunks.
        """

        def refuse(why: str) -> None:
            refusal = Refusal("unreadable message", why, sender_broken=True)
            self._tell(inputs.Unread(refusal, source))

        return ForeignSubscription(
            self, kind, topic, callback, profile, most_bytes=most_bytes, convert=convert, on_refused=refuse
        )

    def _release(self) -> None:
        """Gives back what `_configure` made, as far as it came."""
        with self._lock:
            self._arm = None
        while self._releases:
            self._releases.pop()()

    def _take_priority(self, priority: int) -> None:
        """For this thread and those that it starts: the executor's, the control thread and the watchdog share one
        interpreter, and one of lower priority would hold up the others."""
        before, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        except PermissionError:
            raise ConfigError(
                f"realtime_priority {priority}: no right to it; grant rtprio in /etc/security/limits.conf, or use 0"
            ) from None
        self._releases.append(lambda: os.sched_setscheduler(0, before, parameters))

    def _now(self) -> Instant:
        return Instant(steady_s(), self.get_clock().now().nanoseconds)

    # Joint-level arms.

    def _on_description(self) -> None:
        if self._starting:
            self._start_up()
        elif self._lifecycle == "unconfigured":
            self._rest("unconfigured")  # and waits for it no more

    def _make_joint_arm(self, config: ControllerConfig) -> None:
        # Here, so that an arm that takes deltas needs none of the libraries behind it.
        try:
            from magma_control.drivers.base import make_arm_driver, make_gripper_driver
            from magma_control.joint_arm import JointArm, make_joint_motion
            from magma_control.motion.kinematics import Kinematics
        except ImportError as error:
            raise ConfigError(f"arm {config.arm}: {error}") from error

        told = load_robot(config.robot)
        robot = told.in_graph(lambda name: self.resolve_topic_name(name, only_expand=True))
        description = self._description.read(robot.description)
        kinematics = Kinematics(robot, description, config.table_height_m)
        motion = make_joint_motion(robot, kinematics, config)
        driver = make_arm_driver(config.arm, self, robot, answering=self._lockstep)
        # Closed before the activation, and closed again after it.
        driver.stop()
        self._releases.append(driver.close)
        gripper = make_gripper_driver(self, robot)
        self._releases.append(gripper.close)
        with self._lock:
            self._arm = JointArm(robot, kinematics, motion, driver, gripper, waits=self._lockstep)
        poses = self.create_publisher(EndEffectorStateMsg, "magma/end_effector_state", qos.ROBOT_STATE)
        self._end_effector_states = poses
        self._releases.append(lambda: self.destroy_publisher(poses))
        self._until_release(
            self._hear(JointState, robot.driver.joint_states, self._on_joint_state, qos.JOINT_STATES, JOINTS)
        )
        checks = "with" if kinematics.checks_collisions else "WITHOUT"
        self.get_logger().info(
            f"{robot.name} (configuration {told.identity}, description {description.identity}): "
            f"{kinematics.joints} joints by {config.arm}, {checks} collision check, "
            f"speed scale {config.bring_up_scale:g}"
        )

    def _on_joint_state(self, message: JointState) -> None:
        arm = self._arm
        if arm is None:
            return

        def feed(now: Instant) -> None:
            state = arm.on_joint_state(
                message.name, message.position, stamp_to_ns(message.header.stamp), now, self._core
            )
            if state is not None:
                self._core.handle(inputs.StateHeard(state), now)
                if arm.gripper_is_known:
                    # Whoever repeats an opening that nobody measured drops what is held.
                    self._end_effector_states.publish(state_to_msg(state))

        self._handle(feed)
        if self._lockstep:
            self._guarded(lambda now: arm.advance(self._core))

    def _control_tick(self) -> None:
        """The control thread: one period."""
        if not self.context.ok():
            return  # the process was told to end, and nothing can be published any more
        self._beat(CONTROL_LOOP)
        arm = self._arm

        def work(now: Instant) -> None:
            self._act(now)
            if arm is not None:
                arm.advance(self._core)

        self._guarded(work)

    def _on_standstill(self, reason: str) -> None:
        """The watchdog's thread: nobody else can be relied on. Takes no lock, for whoever stands still may hold it."""
        arm = self._arm
        if arm is not None:
            arm.driver.stop()
        message = ControllerState(phase=ControllerState.FAULT, reason=f"fault: watchdog: {reason}")
        message.header.stamp = self.get_clock().now().to_msg()
        self._say_state(message)
        self._lines.put("error", f"watchdog: {reason}; the arm is stopped")

    # The emergency stop.

    def _on_stop_input(self, stop: bool) -> None:
        """The emergency stop's thread: something was heard. Whoever holds the core takes it next; one who holds it for
        too long is not waited for."""
        if self._lock.acquire(timeout=STOP_PATIENCE_S if stop else 0.0):
            try:
                self._handle(lambda now: None)
            finally:
                self._lock.release()
        elif stop:
            arm = self._arm
            if arm is not None:
                arm.driver.stop()
            message = ControllerState(phase=ControllerState.ESTOP, reason="emergency stop: the arm is stopped")
            message.header.stamp = self.get_clock().now().to_msg()
            self._say_state(message)
            self._lines.put("error", "emergency stop while the controller was busy; the arm is stopped")

    def _take_stops(self, now: Instant) -> None:
        """Tells the core what the emergency stop's thread has heard; under the lock, before anything else."""
        while (heard := self._stop_inputs.take()) is not None:
            if heard.pressed is None:
                self._core.handle(inputs.Stop(f"service {heard.name} was called"), now)
            else:
                self._core.handle(inputs.ButtonHeard(heard.pressed, heard.shared), now)

    # All arms.

    def _on_timer(self) -> None:
        self._beat(EXECUTOR)
        self._handle(lambda now: None)

    def _beat(self, who: str) -> None:
        watchdog = self._watchdog
        if watchdog is not None:
            watchdog.beat(who)

    @property
    def _standstill(self) -> str | None:
        """What the watchdog says."""
        watchdog = self._watchdog
        return watchdog.tripped if watchdog is not None else None

    def _tell(self, given: Input[AnswerT]) -> AnswerT | None:
        """Tells the core and does at once what follows from it. None: an internal error, or such an answer."""
        answer: AnswerT | None = self._handle(lambda now: self._core.handle(given, now))
        return answer

    def _handle(self, feed: Callable[[Instant], Any]) -> Any:
        """Feeds one input to the core and does at once what follows from it; the arm with a control thread waits for
        that."""

        def work(now: Instant) -> Any:
            answer = feed(now)
            if self._loop is None:
                self._act(now)
            return answer

        return self._guarded(work)

    def _act(self, now: Instant) -> None:
        """Ticks the core and sends what it decides."""
        standstill = self._standstill
        if standstill is not None:
            self._core.handle(inputs.Fault(f"watchdog: {standstill}"), now)
        command = self._core.handle(inputs.Tick(), now)
        if self._arm is not None:
            self._arm.apply(command, self._core)
        if command is not None:
            self._publish_command(command)

    def _publish_command(self, command: Command) -> None:
        if self._stop_inputs.stop_waits:
            return
        message = delta_to_msg(command.delta, command.stamp_ns, self._core.config.frame, command.sender)
        self._own_commands.say(_command_key(message))
        self._commands.publish(message)
        self._latency.add((self._now().ros_ns - command.stamp_ns) * 1e-6)

    def _guarded(self, work: Callable[[Instant], Any]) -> Any:
        """Does something with the core. An error in our own code stops the arm."""
        with self._lock:
            now = self._now()
            answer = None
            try:
                self._take_stops(now)
                answer = work(now)
            except Exception as error:  # whatever it was, the arm must not go on
                self._lines.put("error", traceback.format_exc())
                self._core.handle(inputs.Fault(f"internal error: {error!r}"), now)
                if self._arm is not None:
                    self._arm.motion.emergency_stop()
                    # Silence is no stop for every arm, and what has just failed may fail again.
                    self._arm.driver.halt()
            self._log_events(now)
            report = self._core.report(now)
            if _key(report) != self._published_key:
                self._publish_report(report, now)
            return answer

    def _log_events(self, now: Instant) -> None:
        for event in self._core.take_events():
            line = self._throttle.pass_through(event.code, event.text, now.steady_s)
            if line is not None:
                self._lines.put("warning" if event.warning else "info", line)

    def _write_line(self, level: str, line: str) -> None:
        """The log's thread. One call site for each level: rclpy refuses one that changes it."""
        log = self.get_logger()
        if level == "error":
            log.error(line)
        elif level == "warning":
            log.warning(line)
        else:
            log.info(line)

    def _rest_first(self) -> str:
        """What has to be done before a limit may be loosened; empty when the arm can get no command."""
        if self._lifecycle != "active":
            return ""
        name = self.get_fully_qualified_name()
        return f"for that, deactivate the controller first: ros2 lifecycle set {name} deactivate"

    def _on_config(self, config: ControllerConfig) -> None:
        with self._lock:
            before = self._core.config
            self._core.handle(inputs.Configured(config), self._now())
            if self._arm is not None:
                self._arm.reconfigure(config)
            if self._watchdog is not None:
                self._watchdog.timeout_s = config.executor_timeout_s
            self._changed_parameters.update(
                {
                    item.name: getattr(config, item.name)
                    for item in dataclasses.fields(config)
                    if getattr(config, item.name) != getattr(before, item.name)
                }
            )

    def _on_any_command(self, message: EndEffectorDeltaMsg) -> None:
        if not self._own_commands.come(_command_key(message)):
            self._on_rival("magma/command")

    def _on_any_state(self, message: ControllerState) -> None:
        if not self._own_states.are(_state_key(message)):
            self._on_rival("magma/controller_state")

    def _on_rival(self, topic: str) -> None:
        what, looked_s = self._rivals
        now_s = steady_s()
        if now_s - looked_s > RIVALS_LOOK_S:
            own = (self.get_namespace(), self.get_name())
            others = [(info.node_namespace, info.node_name) for info in self.get_publishers_info_by_topic(topic)]
            if own in others:
                others.remove(own)
            names = ", ".join(sorted({f"{namespace.rstrip('/')}/{name}" for namespace, name in others}))
            heard = self.resolve_topic_name(topic)
            what = f"{names or 'somebody who is gone already'} publishes {heard} besides this controller"
            self._rivals = what, now_s
        self._tell(inputs.RivalHeard(what))

    def _on_rearm(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return _answer(response, self._handle(self._rearm))

    def _rearm(self, now: Instant) -> Outcome:
        refusal = self._arm.refuse_rearm() if self._arm is not None else None
        standstill = self._standstill
        if refusal is None and standstill is not None:
            refusal = f"watchdog: {standstill}"
        if refusal is not None:
            return Outcome(False, f"cannot re-arm: {refusal}")
        outcome = self._core.handle(inputs.Rearm(), now)
        if outcome.success and self._arm is not None:
            self._arm.start_anew()
        return outcome

    def _on_hand_back(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return _answer(response, self._tell(inputs.HandBack()))

    def _publish_state(self) -> None:
        with self._lock:
            now = self._now()
            self._publish_report(self._core.report(now), now)

    def _publish_journal(self) -> None:
        """What the core was told since the last time, for a recorder. Serialised outside the lock."""
        with self._lock:
            self._until_remembered -= 1
            if self._until_remembered < 0:
                self._until_remembered = REMEMBER_EVERY
                self._core.remember()
            batches = self._core.journal.take()
        for batch in batches:
            message = batch.message()
            message.header.stamp = self.get_clock().now().to_msg()
            self._journals.publish(message)

    def _publish_report(self, report: Report, now: Instant) -> None:
        message = ControllerState()
        message.header.stamp = ns_to_stamp(now.ros_ns)
        message.header.frame_id = self._core.config.frame
        message.phase = int(report.phase)
        message.reason = report.reason
        message.instruction = report.instruction
        message.frame_age_ms = report.frame_age_ms
        message.chunk_age_ms = report.chunk_age_ms
        message.teleop_age_ms = report.teleop_age_ms
        message.state_age_ms = report.state_age_ms
        message.chunks_received = report.chunks_received
        message.commands_sent = report.commands_sent
        message.chunks_rejected = report.chunks_rejected
        message.commands_clipped = report.commands_clipped
        message.rejection_reasons = list(report.counts)
        message.rejection_counts = list(report.counts.values())
        self._say_state(message)
        self._published_key = _key(report)

    def _say_state(self, message: ControllerState) -> None:
        self._own_states.say(_state_key(message))
        self._states.publish(message)

    def _diagnose(self) -> diagnostics.Report:
        with self._lock:
            report = self._core.report(self._now())
        values = {
            "lifecycle": self._lifecycle,
            "phase": report.phase.name,
            "instruction": report.instruction,
            "capture_to_command_p50_ms": f"{self._latency.percentile_ms(50):.2f}",
            "capture_to_command_p95_ms": f"{self._latency.percentile_ms(95):.2f}",
            "end_effector_state_age_ms": f"{report.state_age_ms:.1f}",
            "chunks_received": report.chunks_received,
            "chunks_rejected": report.chunks_rejected,
            "commands_sent": report.commands_sent,
            "commands_clipped": report.commands_clipped,
            **self._diagnose_loop(),
            **{f"changed while running: {name}": value for name, value in self._changed_parameters.items()},
            **{f"count: {reason}": count for reason, count in report.counts.items()},
        }
        level = _LEVELS[report.phase]
        if self._trouble and not self._starting:
            level = diagnostics.ERROR
        return diagnostics.Report(level, report.reason, values)

    def _diagnose_loop(self) -> dict[str, object]:
        """How the control thread keeps its time."""
        control_loop = self._loop
        if control_loop is None:
            return {}
        loop = control_loop.statistics.report()
        return {
            "control_ticks": loop.ticks,
            "control_ticks_missed": loop.missed,
            "control_late_p50_ms": f"{loop.late_p50_ms:.3f}",
            "control_late_p99_ms": f"{loop.late_p99_ms:.3f}",
            "control_late_max_ms": f"{loop.late_max_ms:.3f}",
            "control_work_p50_ms": f"{loop.work_p50_ms:.3f}",
            "control_work_p99_ms": f"{loop.work_p99_ms:.3f}",
            "control_work_max_ms": f"{loop.work_max_ms:.3f}",
        }


def _state_heard(message: EndEffectorStateMsg) -> inputs.StateHeard:
    return inputs.StateHeard(state_from_msg(message))


def _spec_heard(message: ActionSpecMsg) -> inputs.SpecHeard:
    return inputs.SpecHeard(action_spec_from_msg(message))


def _chunk_heard(message: ActionChunkMsg) -> inputs.ChunkHeard:
    return inputs.ChunkHeard(chunk_from_msg(message))


def _operator_heard(message: EndEffectorDeltaMsg) -> inputs.OperatorHeard:
    return inputs.OperatorHeard(delta_from_msg(message))


def _policy_lives(message: Header) -> inputs.HeartbeatHeard:
    return inputs.HeartbeatHeard(Source.POLICY)


def _operator_lives(message: Header) -> inputs.HeartbeatHeard:
    return inputs.HeartbeatHeard(Source.OPERATOR, message.frame_id)


def _command_key(message: EndEffectorDeltaMsg) -> tuple[Any, ...]:
    """What tells one command from another."""
    stamp, way, turn = message.header.stamp, message.translation, message.rotation
    return (stamp.sec, stamp.nanosec, way.x, way.y, way.z, turn.x, turn.y, turn.z, message.gripper, message.source)


def _state_key(message: ControllerState) -> tuple[Any, ...]:
    """The same for reports of the controller."""
    return (message.header.stamp.sec, message.header.stamp.nanosec, message.phase, message.reason)


def _key(report: Report) -> tuple[Any, ...]:
    """What makes a report worth publishing at once; ages and counters wait for the next regular one."""
    return (report.phase, report.reason_code, report.instruction)


def _answer(response: Trigger.Response, outcome: Outcome | None) -> Trigger.Response:
    response.success = outcome is not None and outcome.success
    response.message = outcome.message if outcome is not None else "the controller had an internal error; see its log"
    return response


def main() -> int:
    """Entry point of `ros2 run magma_control controller`."""
    return run_node(ControllerNode)


if __name__ == "__main__":
    sys.exit(main())
