"""From end-effector deltas to joint commands that satisfy every limit: the safety stage of a joint-level arm.

    goal pose ─> reference path (speed, acceleration, jerk) ─> inverse kinematics (ranges, speeds, singularities)
              ─> joint limits (speed, acceleration, jerk) ─> check ─> joint command

The check is what makes "always" true. With every command comes a brake: the way to rest from it. A command is sent
only if it, and every instant of its brake, lies inside the joints' ranges, the workspace box, above the table, below
the tool's speed limits and free of collisions. If the next command fails the check, the brake of the last one is
followed instead; that one has passed it already. (A verified fail-safe manoeuvre at each instant, as in Althoff et
al., "Effortless creation of safe robots from modules through self-programming and self-verification", Science Robotics
4(31), 2019.)

No clock, no I/O, no ROS; not thread-safe. One call of `tick` is one period.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_contracts.actions import GRIPPER, ROTATION, TRANSLATION
from magma_contracts.geometry.rotations import matrix_from_axis_angle, matrix_from_quaternion, quaternion_from_matrix
from magma_control.channels.agreement import Confirmation, ReportAgreement
from magma_control.command_guard import JointGuard
from magma_control.motion.joint_motion import JointLimits, JointState, JointTracker
from magma_control.motion.kinematics import Kinematics, NotSolvableError
from magma_control.motion.reference import (
    PathLimits,
    PathPoint,
    ToolReference,
    angle_between,
)
from magma_control.robots.robot_config import RobotConfig
from magma_control.safety import Refusal

FloatArray = NDArray[np.float64]

GOAL_INSET_M = 0.005
"""Goals keep this distance from the faces of the workspace box, so that deviations on the way stay inside it."""
REFERENCE_SHARE = 0.9
"""Part of the tool's limits that the reference path uses; the rest is for the joints to catch up with it."""
WAIT_S = 0.3
"""How long the reference waits for a tool that cannot keep up before its motion is given up."""
SETTLE_S = 1.0
"""How long the tool may work off its deviation once the reference stands: damped near a singularity, it creeps."""
_WAIT_AT, _ARRIVED = 0.3, 1e-3
"""Parts of the deviation that is allowed: above one the reference waits, below the other the tool has arrived."""
MAX_LAG_RAD = 0.2
"""How far joints at their limits of acceleration and jerk may stay behind the path before it is given up."""
MOVED_BY_OTHERS = "moved by someone else"
_COLLISION_STRIDE = 4
"""Of the instants of a brake every so manieth is checked for collisions, and the last one."""
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class MotionLimits:
    """Limits of the tool that belong to the place where the robot stands."""

    workspace_min_m: tuple[float, float, float]
    workspace_max_m: tuple[float, float, float]
    table_height_m: float = 0.0
    table_clearance_m: float = 0.0
    scale: float = 1.0
    """0.1 ... 1: slows everything down"""

    def box(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper corner of where the tool may be, the table taken into account."""
        low, high = np.array(self.workspace_min_m), np.array(self.workspace_max_m)
        low[2] = max(low[2], self.table_height_m + self.table_clearance_m)
        return low, high


@dataclass(frozen=True)
class ArmCommand:
    """What a driver sends for one period."""

    position: FloatArray
    """(n,) rad, where the joints are to be one period from now"""
    velocity: FloatArray
    """(n,) rad/s then"""
    acceleration: FloatArray
    """(n,) rad/s^2 then"""
    tool_position: FloatArray
    """(3,) m"""
    tool_quaternion_xyzw: FloatArray
    """(4,)"""
    tool_twist: FloatArray
    """(6,) m/s and rad/s, base frame"""
    gripper: float
    """opening 0 ... 1"""
    brake_positions: FloatArray
    """(m, n) one row per period: how to come to rest if no further command comes; the last row is at rest"""
    brake_velocities: FloatArray
    """(m, n)"""
    period_s: float
    stamp_ns: int = 0
    """stamp of the joint state that this command answers; 0 when it answers none"""


@dataclass(frozen=True)
class _Checked:
    """A state with its brake; both have passed the check."""

    state: JointState
    brake: tuple[JointState, ...]
    """one state per period; the last one is at rest"""
    positions: FloatArray
    """(m, n) those of the brake"""
    tool: tuple[FloatArray, FloatArray]


class ArmMotion:
    """Moves the arm; see the module. Until `sync` has been called it refuses to."""

    def __init__(
        self,
        robot: RobotConfig,
        kinematics: Kinematics,
        limits: MotionLimits,
        period_s: float,
        confirmation: Confirmation | None = None,
    ) -> None:
        """
        Args:
            confirmation: what it takes to believe where a resting arm stands; None: several reports that agree.
        """
        self._robot = robot
        self._kinematics = kinematics
        self._period_s = period_s
        self._lower, self._upper = kinematics.lower, kinematics.upper
        self._joint_limits = JointLimits(
            velocity=kinematics.max_velocity,
            acceleration=np.array(robot.per_joint("max_acceleration")),
            jerk=np.array(robot.per_joint("max_jerk")),
        )
        # What may be left of speed and acceleration of an arm that counts as resting: their end keeps the jerk limit.
        jerk = 0.05 * self._joint_limits.jerk
        self._rest = np.minimum(1e-4, jerk * period_s**2), np.minimum(1e-2, jerk * period_s)
        self._tracker = JointTracker(kinematics.joints, self._joint_limits, period_s)
        self._reference = ToolReference(self._path_limits(REFERENCE_SHARE * limits.scale), period_s)
        self._set_limits(limits)
        self._accepted: _Checked | None = None
        self._braking: Refusal | None = None
        self._wanted = kinematics.home.copy()
        self._point = PathPoint(*kinematics.forward(kinematics.home))
        self._deviation = 0.0
        self._waited = 0
        self._settling = 0
        self._gripper = 1.0
        self._gripper_known = False
        self._measured: FloatArray | None = None
        self._measured_s = 0.0
        self._measured_stamp_s = 0.0
        following = robot.following
        self._agreement = ReportAgreement(
            confirmation or Confirmation(),
            still=following.still_tolerance,
            jump=following.resync_tolerance,
            top_speed=self._joint_limits.velocity,
        )
        self._doubted = False
        self._history = np.empty((max(1, round(robot.following.window_s / period_s)), kinematics.joints))
        """what was commanded last, one row per period; a ring of `_commanded` rows so far"""
        self._commanded = 0
        self._excused: frozenset[str] = frozenset()
        self._refusals: list[Refusal] = []
        self.counts: Counter[str] = Counter()
        """how often a motion was cut or given up, by reason"""

    # What is going on.

    @property
    def joints(self) -> int:
        return self._kinematics.joints

    @property
    def synchronised(self) -> bool:
        """Whether it knows where the arm is and may move it."""
        return self._accepted is not None

    @property
    def at_rest(self) -> bool:
        """Whether nothing moves and nothing is on its way."""
        accepted = self._accepted
        if accepted is None:
            return True
        return self._braking is None and self._reference.at_rest and _resting(accepted.state)

    @property
    def state(self) -> JointState:
        """The commanded state of the joints."""
        return self._require().state

    @property
    def goal(self) -> tuple[FloatArray, FloatArray]:
        """Position (3,) and quaternion xyzw (4,) to which the next delta is added."""
        return self._reference.goal_position.copy(), quaternion_from_matrix(self._reference.goal_rotation)

    @property
    def gripper(self) -> float:
        """Commanded opening 0 ... 1; see `gripper_known`."""
        return self._gripper

    @property
    def gripper_known(self) -> bool:
        """Whether an opening was commanded, or measured when motion began; otherwise `gripper` means nothing."""
        return self._gripper_known

    @property
    def doubt(self) -> Refusal | None:
        """Why it is not sure where the arm stands, or None. It is not moved then."""
        if self._accepted is not None and not self._doubted:
            return None
        if self.contradicted:
            return Refusal(
                "joint states contradict",
                "joint states report the arm here and there, faster than it can move: holding until they agree; "
                f"are there two publishers on {self._robot.driver.joint_states}?",
            )
        return Refusal("arm not confirmed", "waiting for joint states that agree about where the arm stands")

    @property
    def contradicted(self) -> bool:
        """Whether reports of a resting arm, or of one that is not known yet, say different things in turn."""
        return (self._accepted is None or self._doubted) and self._agreement.contradicting

    @property
    def confirmed(self) -> bool:
        """Whether the last reports agree about where the arm stands."""
        return self._agreement.confirmed is not None

    def guard(self) -> JointGuard:
        """The last look at what leaves this arm's driver."""
        return JointGuard(self._robot.joints.names, self._lower, self._upper, self._joint_limits, self._period_s)

    @property
    def limits(self) -> MotionLimits:
        return self._limits

    def take_refusals(self) -> list[Refusal]:
        """What was cut or given up since the last call, in order."""
        refusals, self._refusals = self._refusals, []
        return refusals

    def reconfigure(self, limits: MotionLimits) -> None:
        """Takes other limits. What moves faster than they allow brakes first."""
        self._set_limits(limits)

    def _set_limits(self, limits: MotionLimits) -> None:
        self._limits = limits
        self._box = limits.box()
        self._scale = limits.scale
        self._path = self._path_limits(limits.scale)
        self._reference.limits = self._path_limits(REFERENCE_SHARE * limits.scale)
        joint = self._joint_limits
        # A brake is never weaker for a smaller scale: only speed is scaled here.
        speeds = REFERENCE_SHARE * limits.scale * joint.velocity
        self._tracker.limits = JointLimits(speeds, joint.acceleration, joint.jerk)
        self._kinematics.limit_speeds(speeds)

    def _path_limits(self, scale: float) -> PathLimits:
        """The limits of the tool; the check keeps them."""
        cartesian = self._robot.cartesian
        return PathLimits(
            cartesian.max_speed_m_s * scale,
            cartesian.max_acceleration_m_s2 * scale,
            cartesian.max_jerk_m_s3 * scale,
            cartesian.max_angular_speed_rad_s * scale,
            cartesian.max_angular_acceleration_rad_s2 * scale,
            cartesian.max_angular_jerk_rad_s3 * scale,
        )

    # Where the arm is.

    def sync(self, measured: FloatArray, opening: float | None) -> Refusal | None:
        """Begins from where the arm is, at rest. Whatever was planned is forgotten; nothing moves by this.

        An arm that stands outside a limit may move back inside, never farther out.

        Args:
            measured: (n,) rad.
            opening: 0 ... 1; None when it is not known: then the gripper stays as it was commanded last.
        """
        measured = np.asarray(measured, dtype=np.float64)
        if measured.shape != (self.joints,) or not np.isfinite(measured).all():
            return self._refuse(Refusal("joint state makes no sense", f"joint positions are {measured}", True))
        slack = self._robot.following.jump_tolerance
        beyond = (measured < self._lower - slack) | (measured > self._upper + slack)
        if beyond.any():
            names = [name for name, wrong in zip(self._robot.joints.names, beyond, strict=True) if wrong]
            return self._refuse(
                Refusal(
                    "joint out of range",
                    f"{', '.join(names)} stands far outside its range: move it back by hand, or correct the limits",
                )
            )
        state = JointState.resting(measured)
        tool = self._kinematics.forward(state.position)
        self._accepted = _Checked(state, (state,), state.position[np.newaxis], tool)
        self._commanded = 0
        self._remember(state.position)
        self._kinematics.widen_ranges(measured)
        self._braking = None
        self._doubted = False
        self._stand(state.position, tool)
        if opening is not None:
            self.learn_gripper(opening)
        self._excused = self._kinematics.contacts(state.position)
        if self._excused:
            self._refuse(
                Refusal(
                    "stands in collision",
                    f"the arm stands in contact: {'; '.join(sorted(self._excused))}. Each of these pairs is checked "
                    "from the moment on at which it is free, all others always",
                )
            )
        return None

    def learn_gripper(self, opening: float) -> None:
        """The gripper was measured at an opening 0 ... 1, and that is what it is to keep."""
        self._gripper = float(np.clip(opening, 0.0, 1.0))
        self._gripper_known = True

    def unsync(self) -> None:
        """Forgets everything: the arm cannot be moved before the next `sync`."""
        self._accepted = None
        self._braking = None

    def forget_reports(self) -> None:
        """What was reported so far does not tell where the arm stands now."""
        self.unsync()
        self._agreement.forget()

    def on_measured(
        self, measured: FloatArray, steady_s: float, opening: float | None, stamp_s: float | None = None
    ) -> Refusal | None:
        """A report of the joints. Returns why the arm must stop when the report cannot be true or the arm does not
        follow. One report changes nothing about where a resting arm is taken to be: it raises a doubt, until several
        agree that it stands where it was left, or that someone else moved it.

        Reports come late and arms are late, so an arm that is where it was told to be some time ago follows.

        Args:
            measured: (n,) rad.
            steady_s: when the report came.
            opening: 0 ... 1, or None when it is not known.
            stamp_s: when it was made, if that is known.
        """
        measured = np.asarray(measured, dtype=np.float64)
        if measured.shape != (self.joints,) or not np.isfinite(measured).all():
            return self._refuse(Refusal("joint state makes no sense", f"joint positions are {measured}", True))
        stamp_s = steady_s if stamp_s is None else stamp_s
        near = self._measured if self._accepted is None else self._accepted.state.position
        if near is not None:
            measured = self._kinematics.nearest_turn(measured, near)
        last, last_s, last_stamp_s = self._measured, self._measured_s, self._measured_stamp_s
        self._measured, self._measured_s, self._measured_stamp_s = measured, steady_s, stamp_s
        accepted = self._accepted
        resting = self.at_rest
        if resting:
            # Reports of a moving arm are judged by what it was told.
            self._agreement.add(measured, steady_s, round(stamp_s * 1e9))
        if accepted is None:
            return None
        following = self._robot.following
        if last is not None and not resting:
            elapsed_s = max(steady_s - last_s, min(stamp_s - last_stamp_s, 1.0), 0.0)
            allowed = following.jump_tolerance + 1.5 * self._joint_limits.velocity * elapsed_s
            if (np.abs(measured - last) > allowed).any():
                worst = _worst(measured, last, self._robot)
                text = f"a joint moved by {worst} between two reports; are there two publishers of joint states?"
                return self._refuse(Refusal("joint state jumped", text, sender_broken=True))
        commanded = self._history[: self._commanded]
        nearest = commanded[int(np.argmin(np.abs(commanded - measured).max(axis=1)))]
        lag = float(np.abs(nearest - measured).max())
        moved = lag > following.resync_tolerance
        if resting and (moved or self._doubted):
            self._doubted = not self.confirmed
            if not self._doubted and moved:
                self.counts[MOVED_BY_OTHERS] += 1
                # What it holds it goes on holding.
                refusal = self.sync(measured, None)
                if refusal is not None:
                    self.unsync()
                return refusal
        if not resting and lag > following.lag_tolerance:
            worst = _worst(measured, nearest, self._robot)
            window = f"the last {following.window_s:g} s"
            text = (
                f"the arm is {worst} away from everything it was told in {window}; is it held or pushed, "
                "or are there two publishers of joint states?"
            )
            return self._refuse(Refusal("arm does not follow", text, sender_broken=True))
        return None

    def on_base_moved(self, joint: str) -> None:
        """Another joint of the robot moved the tool against the base. A resting arm goes on from there; one that moves
        brakes, for its path was another one."""
        accepted = self._accepted
        if accepted is None:
            return
        tool = self._kinematics.forward(accepted.state.position)
        if self.at_rest:
            self._accepted = _Checked(accepted.state, accepted.brake, accepted.positions, tool)
            self._stand(accepted.state.position, tool)
        else:
            self._brake(Refusal("other joint moved", f"{joint} moved below the arm while the arm was moving"))

    # Moving it.

    def move(self, delta: FloatArray, duration_s: float, following: FloatArray | None = None) -> tuple[str, ...]:
        """Moves the goal by one delta.

        Args:
            delta: (7,), finite: m, rad, opening.
            duration_s: period until the next delta.
            following: (7,) the delta after this one, if it is known: then the goal is passed without stopping.

        Returns:
            Names of what cut it short; also when it was ignored because the arm brakes.
        """
        if self._doubted:
            return ("arm not confirmed",)
        self.learn_gripper(float(delta[GRIPPER]))
        if self._braking is not None:
            return (f"braking: {self._braking.code}",)
        clips: tuple[str, ...] = ()
        reference = self._reference
        low, high = self._box
        start = reference.goal_position
        inner_low = np.minimum(low + GOAL_INSET_M, start)
        inner_high = np.maximum(high - GOAL_INSET_M, start)
        wanted = start + delta[TRANSLATION]
        position = np.clip(wanted, inner_low, inner_high)
        if (position != wanted).any():
            clips = ("workspace",)
        rotation = matrix_from_axis_angle(delta[ROTATION]) @ reference.goal_rotation
        # Products of many matrices drift; unit quaternions do not.
        rotation = matrix_from_quaternion(quaternion_from_matrix(rotation))
        end_velocity = None
        if following is not None and not clips:
            end_velocity = _passing_velocity(delta[:6] / duration_s, following[:6] / duration_s)
            duration = duration_s
        else:
            duration = self._robot.cartesian.arrival_fraction * duration_s
        if np.any(delta[:6]) or not reference.at_rest:
            reference.aim(position, rotation, duration, end_velocity)
        return clips

    def hold(self) -> None:
        """Gives up the goal and comes to rest along the path within its limits."""
        if self._accepted is not None and not self._reference.at_rest:
            self._reference.brake()

    def emergency_stop(self) -> None:
        """Comes to rest as fast as the joints' limits allow, along the brake that has been checked."""
        if self._accepted is not None and not self.at_rest:
            self._brake(Refusal("emergency stop", "emergency stop"), count=False)

    def tick(self, stamp_ns: int = 0) -> ArmCommand:
        """The command for the coming period."""
        accepted = self._require()
        if self._braking is None:
            try:
                accepted = self._next(accepted)
            except _GivenUpError as given_up:
                self._brake(given_up.refusal)
        if self._braking is not None:
            accepted = self._follow_brake(accepted)
        self._accepted = accepted
        state = accepted.state
        self._remember(state.position)
        return ArmCommand(
            position=state.position,
            velocity=state.velocity,
            acceleration=state.acceleration,
            tool_position=accepted.tool[0],
            tool_quaternion_xyzw=quaternion_from_matrix(accepted.tool[1]),
            tool_twist=self._kinematics.jacobian(state.position) @ state.velocity,
            gripper=self._gripper,
            brake_positions=accepted.positions,
            brake_velocities=np.array([item.velocity for item in accepted.brake]),
            period_s=self._period_s,
            stamp_ns=stamp_ns,
        )

    def _remember(self, position: FloatArray) -> None:
        self._history[self._commanded % len(self._history)] = position
        self._commanded += 1

    def _next(self, accepted: _Checked) -> _Checked:
        """One period along the path, or _GivenUpError."""
        if self.at_rest:
            return accepted
        before = self._wanted
        velocity = np.zeros(self.joints)
        if not self._reference.at_rest:
            self._settling = 0
            velocity = self._along_reference()
        elif self._deviation > _ARRIVED and self._settling * self._period_s < SETTLE_S:
            self._settling += 1
            velocity = self._along_reference()
        state = self._tracker.follow(accepted.state, before, velocity)
        lag = float(np.abs(self._wanted - state.position).max())
        if lag > MAX_LAG_RAD:
            raise _GivenUpError(Refusal("joints too slow", f"the joints are {lag:.2f} rad behind the path of the tool"))
        if self._reference.at_rest and _nearly_resting(state, self._wanted, self._rest):
            state = JointState.resting(state.position)
        return self._check(state, accepted)

    def _along_reference(self) -> FloatArray:
        """Joint velocities (n,) that keep the tool on the reference for one period, or _GivenUpError.

        Where the tool cannot keep up, near a singularity or at a joint's limit, the reference waits for it.
        """
        if self._deviation <= _WAIT_AT:
            self._point = self._reference.step()
            self._waited = 0
        else:
            self._waited += 1
        point = self._point
        try:
            step = self._kinematics.step(self._wanted, point.position, point.rotation, self._period_s)
        except NotSolvableError as error:
            why = f"no joint motion within the limits: {error}"
            raise _GivenUpError(Refusal("no inverse kinematics", why)) from None
        self._wanted = self._wanted + self._period_s * step.velocity
        self._measure_deviation(step.smallest_singular_value)
        return step.velocity

    def _measure_deviation(self, singular: float) -> None:
        """How far the wanted joints keep the tool from the reference, as a part of what is allowed."""
        ik, point = self._robot.ik, self._point
        position, rotation = self._kinematics.forward(self._wanted)
        distance = float(np.linalg.norm(position - point.position))
        angle = angle_between(point.rotation, rotation)
        self._deviation = max(distance / ik.max_position_error_m, angle / ik.max_rotation_error_rad)
        if self._deviation > 1.0 or self._waited * self._period_s > WAIT_S:
            near = singular < ik.damping_below
            code = "singularity" if near else "out of reach"
            why = f"near a singularity (smallest singular value {singular:.3f})" if near else "out of the arm's reach"
            raise _GivenUpError(
                Refusal(code, f"the tool is {distance * 1e3:.1f} mm and {angle:.3f} rad off its path: {why}")
            )

    def _stand(self, joints: FloatArray, tool: tuple[FloatArray, FloatArray]) -> None:
        """The path begins anew here."""
        self._wanted = joints.copy()
        self._tracker.reset()
        self._reference.reset(*tool)
        self._point = PathPoint(*tool)
        self._deviation = 0.0
        self._waited = 0
        self._settling = 0

    def _check(self, state: JointState, before: _Checked) -> _Checked:
        """Passes a state together with its brake, or raises _GivenUpError with what is wrong."""
        try:
            brake = self._tracker.brake(state)
        except RuntimeError as error:
            raise _GivenUpError(Refusal("no brake", str(error))) from None
        states = [state, *(brake.after(tick) for tick in range(1, brake.ticks + 1))]
        positions = self._check_ranges(states, before)
        tool = self._check_tool(states, before)
        self._check_collisions(states)
        # Of a state at rest the brake is to stay there.
        return _Checked(state, tuple(states[1:]) or (state,), positions[1:] if len(states) > 1 else positions, tool)

    def _check_ranges(self, states: list[JointState], before: _Checked) -> FloatArray:
        """Range and speed of every joint at every instant. An arm that was found outside a range may come back into it,
        never go farther out.

        Returns:
            The positions of the states.
        """
        limits, names = self._joint_limits, self._robot.joints.names
        positions = np.array([before.state.position, *(item.position for item in states)])
        earlier, later = positions[:-1], positions[1:]
        low = np.minimum(self._lower, earlier) - _TOLERANCE
        high = np.maximum(self._upper, earlier) + _TOLERANCE
        outside = ((later < low) | (later > high)).any(axis=0)
        if outside.any():
            index = int(np.argmax(outside))
            raise _GivenUpError(
                Refusal(
                    "joint range",
                    f"{names[index]} would go from {earlier[0, index]:.3f} to beyond "
                    f"{self._lower[index]:.3f} … {self._upper[index]:.3f} rad",
                )
            )
        fast = (np.abs(later - earlier) > self._scale * limits.velocity * self._period_s + _TOLERANCE).any(axis=0)
        if fast.any():
            raise _GivenUpError(Refusal("joint speed", f"{names[int(np.argmax(fast))]} would be too fast"))
        return later

    def _check_tool(self, states: list[JointState], before: _Checked) -> tuple[FloatArray, FloatArray]:
        """Box and speed at every instant; the tool's pose at the first."""
        tools = [before.tool, *(self._kinematics.forward(state.position) for state in states)]
        positions = np.array([position for position, _ in tools])
        rotations = np.array([rotation for _, rotation in tools])
        earlier, later = positions[:-1], positions[1:]
        # A tool that was found outside the box may come back into it, never go farther out.
        low = np.minimum(self._box[0], earlier) - _TOLERANCE
        high = np.maximum(self._box[1], earlier) + _TOLERANCE
        outside = ((later < low) | (later > high)).any(axis=1)
        if outside.any():
            where = _listed(later[int(np.argmax(outside))])
            raise _GivenUpError(Refusal("workspace", f"the tool would leave the workspace at {where}"))
        longest = self._path.speed * self._period_s + _TOLERANCE
        if (np.sum((later - earlier) ** 2, axis=1) > longest**2).any():
            raise _GivenUpError(Refusal("speed", "the tool would be too fast"))
        # Of two rotations the trace tells the cosine of the angle between them, without a logarithm.
        smallest_trace = 1.0 + 2.0 * np.cos(min(self._path.angular_speed * self._period_s, np.pi)) - 1e-12
        if (np.sum(rotations[1:] * rotations[:-1], axis=(1, 2)) < smallest_trace).any():
            raise _GivenUpError(Refusal("angular speed", "the tool would turn too fast"))
        return tools[1]

    def _check_collisions(self, states: list[JointState]) -> None:
        if self._excused:
            self._check_leaving(states)
            return
        checked = states[::_COLLISION_STRIDE]
        if checked[-1] is not states[-1]:
            checked.append(states[-1])
        for state in checked:
            pair = self._kinematics.collision(state.position)
            if pair is not None:
                raise _GivenUpError(Refusal("collision", f"{pair} would touch each other"))

    def _check_leaving(self, states: list[JointState]) -> None:
        """For an arm that was found in contact: pairs may part, and none may come together, in the brake neither."""
        excused = self._excused
        along = [self._kinematics.contacts(state.position) for state in states]
        for touching in along:
            if not touching <= excused:
                raise _GivenUpError(Refusal("collision", f"{min(touching - excused)} would touch each other"))
            excused = touching
        self._excused = along[0]

    def _brake(self, refusal: Refusal, *, count: bool = True) -> None:
        if self._braking is None:
            self._braking = refusal
            if count:
                self._refuse(refusal)

    def _follow_brake(self, accepted: _Checked) -> _Checked:
        """One period along the brake of the last state that passed the check; at its end, rest there."""
        state = accepted.brake[0]
        if self._excused:
            self._excused &= self._kinematics.contacts(state.position)
        tool = self._kinematics.forward(state.position)
        if len(accepted.brake) > 1:
            return _Checked(state, accepted.brake[1:], accepted.positions[1:], tool)
        self._braking = None
        self._stand(state.position, tool)
        return _Checked(state, (state,), state.position[np.newaxis], tool)

    def _refuse(self, refusal: Refusal) -> Refusal:
        self.counts[refusal.code] += 1
        self._refusals.append(refusal)
        return refusal

    def _require(self) -> _Checked:
        if self._accepted is None:
            raise RuntimeError("the arm cannot be moved before its position is known: call sync first")
        return self._accepted


class _GivenUpError(Exception):
    """The motion that was tried is not allowed."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


def _passing_velocity(incoming: FloatArray, outgoing: FloatArray) -> FloatArray:
    """Velocity (6,) at a goal between two steps: their mean where both go the same way, else zero, so that the path
    never swings beyond a goal (Fritsch and Carlson, "Monotone piecewise cubic interpolation", 1980)."""
    same = incoming * outgoing > 0.0
    smaller = np.minimum(np.abs(incoming), np.abs(outgoing))
    mean = 0.5 * (incoming + outgoing)
    return np.where(same, np.sign(mean) * np.minimum(np.abs(mean), 1.5 * smaller), 0.0)


def _resting(state: JointState) -> bool:
    return not (np.any(state.velocity) or np.any(state.acceleration))


def _nearly_resting(state: JointState, wanted: FloatArray, rest: tuple[FloatArray, FloatArray]) -> bool:
    return bool(
        (np.abs(state.velocity) < rest[0]).all()
        and (np.abs(state.acceleration) < rest[1]).all()
        and (np.abs(state.position - wanted) < 1e-4).all()
    )


def _worst(one: FloatArray, other: FloatArray, robot: RobotConfig) -> str:
    index = int(np.argmax(np.abs(one - other)))
    return f"{abs(one[index] - other[index]):.3f} rad ({robot.joints.names[index]})"


def _listed(values: FloatArray) -> str:
    return "[" + ", ".join(f"{value:.3f}" for value in values) + "] m"
