"""How smooth take-over and hand-back are, measured over many random moments on the controller's own classes.

    python tests/benchmarks/takeover.py [--moments 1000] [--arms delta joints]

A policy moves the arm at random; an operator takes it over at a random moment, moves it differently, and hands it back;
and so on. Half of the moments are take-overs, half hand-backs. Reported is what the arm is told to do at such a moment
(an arm that takes deltas: in the first step of the new hand; joints: within half a second), and otherwise.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

import numpy as np

from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk, EndEffectorDelta
from magma_contracts.arm_state import EndEffectorState
from magma_control.commands import Source
from magma_control.config import ControllerConfig
from magma_control.controller import Controller
from magma_control.freshness import Instant
from magma_control.phases import Phase

STEP_PERIOD_S = 0.2
HORIZON = 4
SPEC = ActionSpec(
    "random", HORIZON, STEP_PERIOD_S, "base", "axis_angle", "absolute_open_1", "none", "third_person", 128, 128, True
)
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
NEAR_S = 0.5
AT_FACE = "change of speed where the workspace box stops it, mm/s"
MIDDLE = np.array([0.5, 0.0, 0.35])
POLICY_SPEED_M_S, OPERATOR_SPEED_M_S = 0.30, 0.25


@dataclass
class Extremes:
    """The largest values seen, near a change of hands and elsewhere."""

    near: dict[str, float] = field(default_factory=dict)
    elsewhere: dict[str, float] = field(default_factory=dict)

    def add(self, near: bool, **values: float) -> None:
        group = self.near if near else self.elsewhere
        for name, value in values.items():
            group[name] = max(group.get(name, 0.0), value)


class Wanderer:
    """Random velocities that change smoothly and keep the arm near the middle of its space."""

    def __init__(self, rng: np.random.Generator, speed_m_s: float) -> None:
        self._rng, self._speed = rng, speed_m_s
        self._direction = rng.normal(size=3)
        self._turn = rng.normal(size=3)

    def step(self, position: np.ndarray) -> np.ndarray:
        """A delta (7,) for one step period."""
        self._direction = self._direction + 0.5 * self._rng.normal(size=3) - 6.0 * (position - MIDDLE)
        self._turn = 0.8 * self._turn + 0.5 * self._rng.normal(size=3)
        move = self._direction / max(1e-6, np.linalg.norm(self._direction)) * self._speed * STEP_PERIOD_S
        turn = 0.1 * self._turn / max(1.0, np.linalg.norm(self._turn))
        return np.concatenate([move, turn, [1.0]])


class DeltaArm:
    """An arm that takes deltas: it goes where it is told within one step period."""

    def __init__(self, config: ControllerConfig) -> None:
        self.target = MIDDLE.copy()
        self.extremes = Extremes()
        self._config = config
        self._velocity = np.zeros(3)
        self._last_s = -1.0
        self._last_source: Source | None = None

    def report(self, core: Controller, now: Instant) -> None:
        core.on_state(EndEffectorState(now.ros_ns, self.target.copy(), DOWN, self.target.copy(), DOWN, 1.0, 1.0), now)

    def tick(self, core: Controller, now: Instant, since_change_s: float) -> None:
        command = core.tick(now)
        if command is None:
            return
        rested = now.steady_s - self._last_s > 2.0 * STEP_PERIOD_S
        before = np.zeros(3) if rested else self._velocity
        self._velocity = command.delta[:3] / STEP_PERIOD_S
        self._last_s = now.steady_s
        step_m = float(np.linalg.norm(command.delta[:3]))
        first = self._last_source is not None and command.source is not self._last_source
        self._last_source = command.source
        self.target = self.target + command.delta[:3]
        low, high = np.array(self._config.workspace_min_m), np.array(self._config.workspace_max_m)
        # There the box comes first: the arm must not go on outwards, however smooth that would be.
        at_face = bool(np.isclose(self.target, low).any() or np.isclose(self.target, high).any())
        change_m_s = float(np.linalg.norm(self._velocity - before))
        self.extremes.add(
            first,
            **{
                "step of the commanded position, mm": 1e3 * step_m,
                AT_FACE if at_face else "change of speed between two steps, mm/s": 1e3 * change_m_s,
            },
        )

    @property
    def allowed(self) -> dict[str, float]:
        config = self._config
        return {
            "step of the commanded position, mm": 1e3
            * min(config.max_step_translation_m, config.max_speed_m_s * STEP_PERIOD_S),
            "change of speed between two steps, mm/s": 1e3 * config.max_takeover_speed_step_m_s,
            AT_FACE: 1e3 * config.max_speed_m_s,
        }


class JointLevelArm:
    """The Panda behind the joint-level safety stage, at 100 Hz; it follows its commands exactly."""

    PERIOD_S = 0.01

    def __init__(self, config: ControllerConfig) -> None:
        from magma_control.drivers.base import ArmDriver, GripperDriver
        from magma_control.joint_arm import JointArm, make_joint_motion
        from magma_control.motion.kinematics import Kinematics
        from magma_control.robots.robot_config import load_robot
        from magma_control.robots.robot_description import read_description

        class Driver(ArmDriver):
            sent = None

            def _send(self, command):
                self.sent = command

            def _send_rest(self, position, velocity, last):
                raise RuntimeError("nobody stopped it")

        class Gripper(GripperDriver):
            def _send(self, opening):
                """Nothing hangs on it here."""

        robot = load_robot("panda")
        kinematics = Kinematics(robot, read_description(robot.description), config.table_height_m)
        self._robot, self._driver = robot, Driver()
        self._arm = JointArm(robot, kinematics, make_joint_motion(robot, kinematics, config), self._driver, Gripper())
        self._positions = kinematics.home.copy()
        self._names = list(robot.joints.names)
        self.target = kinematics.forward(kinematics.home)[0]
        self.extremes = Extremes()
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._limits = kinematics.max_velocity, np.array(robot.per_joint("max_acceleration"))

    def report(self, core: Controller, now: Instant) -> None:
        state = self._arm.on_joint_state(self._names, list(self._positions), now.ros_ns, now, core)
        if state is not None:
            core.on_state(state, now)
            self.target = state.target_position

    def tick(self, core: Controller, now: Instant, since_change_s: float) -> None:
        command = core.tick(now)
        self._arm.apply(command, core)
        self._arm.advance(core)
        sent = self._driver.sent
        if sent is None:
            return
        last, self._last = self._last, (sent.position, sent.velocity, sent.tool_position)
        self._positions = sent.position
        if last is None:
            return
        self.extremes.add(
            since_change_s <= NEAR_S,
            **{
                "step of a joint in 10 ms, mrad": 1e3 * float(np.abs(sent.position - last[0]).max()),
                "change of a joint's speed in 10 ms, mrad/s": 1e3 * float(np.abs(sent.velocity - last[1]).max()),
                "step of the tool in 10 ms, mm": 1e3 * float(np.linalg.norm(sent.tool_position - last[2])),
            },
        )

    @property
    def allowed(self) -> dict[str, float]:
        velocity, acceleration = self._limits
        return {
            "step of a joint in 10 ms, mrad": 1e3 * float(velocity.max()) * self.PERIOD_S,
            "change of a joint's speed in 10 ms, mrad/s": 1e3 * float(acceleration.max()) * self.PERIOD_S,
            "step of the tool in 10 ms, mm": 1e3 * self._robot.cartesian.max_speed_m_s * self.PERIOD_S,
        }


def measure(arm_kind: str, moments: int, seed: int = 0) -> tuple[Extremes, dict[str, float], int]:
    """Plays until so many changes of hands have happened.

    Returns:
        The extremes, what is allowed, and the number of changes.
    """
    rng = np.random.default_rng(seed)
    period_s = 0.02 if arm_kind == "delta" else JointLevelArm.PERIOD_S
    config = ControllerConfig(step_period_s=STEP_PERIOD_S)
    now = Instant(100.0, 1_700_000_000 * 10**9)
    core = Controller(config, now)
    arm = DeltaArm(config) if arm_kind == "delta" else JointLevelArm(config)
    core.on_spec(SPEC, now)
    core.on_instruction("wander")
    policy, operator = Wanderer(rng, POLICY_SPEED_M_S), Wanderer(rng, OPERATOR_SPEED_M_S)
    operating, changes, sequence = False, 0, 0
    changed_s, next_change_s = now.steady_s, now.steady_s + 1.0
    next_chunk_s = next_key_s = now.steady_s
    while changes < moments:
        now = Instant(now.steady_s + period_s, now.ros_ns + round(period_s * 1e9))
        arm.report(core, now)
        if operating:
            if now.steady_s >= next_key_s:
                next_key_s = now.steady_s + 0.1
                core.on_operator(EndEffectorDelta(operator.step(arm.target), now.ros_ns, source="gamepad"), now)
        elif now.steady_s >= next_chunk_s:
            next_chunk_s = now.steady_s + STEP_PERIOD_S
            sequence += 1
            deltas = np.array([policy.step(arm.target)] * HORIZON)
            captured_ns = now.ros_ns - 80_000_000
            core.on_chunk(ActionChunk(deltas, captured_ns, STEP_PERIOD_S, SPEC.policy, "wander", sequence), now)
        arm.tick(core, now, now.steady_s - changed_s)
        core.take_events()
        if now.steady_s >= next_change_s:
            if operating and not core.hand_back(now).success:
                raise RuntimeError(f"not handed back: {core.report(now).reason}")
            operating = not operating
            operator = Wanderer(rng, OPERATOR_SPEED_M_S)
            changed_s, next_change_s = now.steady_s, now.steady_s + float(rng.uniform(0.6, 1.4))
            changes += 1
    if core.phase not in (Phase.AUTONOMOUS, Phase.TELEOP, Phase.HOLD):
        raise RuntimeError(f"ended in {core.phase.name}: {core.report(now).reason}")
    return arm.extremes, arm.allowed, changes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=1000)
    parser.add_argument("--arms", nargs="+", choices=["delta", "joints"], default=["delta", "joints"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for kind in options.arms:
        extremes, allowed, changes = measure(kind, options.moments, options.seed)
        print(f"\n{kind}: {changes} changes of hands at random moments; largest values\n")
        print("| | at a change of hands | at other times | allowed at a change |\n|---|---|---|---|")
        for name, value in extremes.near.items():
            print(f"| {name} | {value:.2f} | {extremes.elsewhere.get(name, 0.0):.2f} | {allowed[name]:.2f} |")


if __name__ == "__main__":
    main()
