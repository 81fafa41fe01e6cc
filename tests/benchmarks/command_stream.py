"""Does the stream of commands keep its limits, whatever comes in? Random adversaries, counted tick by tick.

python tests/benchmarks/command_stream.py joints --ticks 1000000 --processes 2
python tests/benchmarks/command_stream.py deltas --ticks 1000000

`joints`: the whole way from messages to what leaves the driver of a joint-level arm, at 100 Hz. Reports lie (jumps, a
second publisher, joints named twice, NaN, late, in parts, missing), the arm lags, sags and is moved by hand, everybody
asks for everything, and threads stop the driver. Looked at is what goes out, brakes included: from each position to the
next, and over every change of phase, each joint's range, speed, acceleration and jerk; and that a stream begins only at
rest, where the arm really stands.

`deltas`: the controller's core and an arm that takes deltas, with commands and reports that are late or lost. Looked at
are the step, speed and time of every command, and where the arm's own target goes: never out of the workspace box.

Every seed plays the same. `tests/unit/control/test_command_stream.py` plays a little of both.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk, EndEffectorDelta
from magma_contracts.arm_state import EndEffectorState
from magma_contracts.errors import ConfigError
from magma_control.commands import Command
from magma_control.config import ControllerConfig
from magma_control.controller import Controller
from magma_control.freshness import Instant
from magma_control.phases import MOVING, Phase

# Numbers as large as they can be are part of what is played.
np.seterr(over="ignore")
FloatArray = NDArray[np.float64]
EPOCH_NS = 1_800_000_000_000_000_000
SPEC = ActionSpec("test", 16, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 128, 128, True)
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
NASTY = (float("nan"), float("inf"), -float("inf"), 1e9, -1e300)


@dataclass
class Tally:
    """What was played, and what was wrong with it."""

    ticks: int = 0
    commands: int = 0
    streams: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def wrong(self, what: str, where: str) -> None:
        """Counts a violation."""
        self.violations[what] += 1
        self.examples.setdefault(what, where)

    def add(self, other: Tally) -> None:
        """Takes over another's counts."""
        self.ticks += other.ticks
        self.commands += other.commands
        self.streams += other.streams
        self.phases += other.phases
        self.violations += other.violations
        self.examples = {**other.examples, **self.examples}

    def __str__(self) -> str:
        lines = [
            f"{self.ticks} ticks, {self.commands} commands, {self.streams} streams, phases {dict(self.phases)}",
            f"violations: {sum(self.violations.values())} {dict(self.violations) or ''}",
            *(f"  {what}: {where}" for what, where in self.examples.items()),
        ]
        return "\n".join(lines)


def _delta(dice: random.Random, size: float) -> FloatArray:
    delta = np.array([dice.uniform(-size, size) for _ in range(6)] + [dice.random()])
    delta[3:6] *= 5.0 * (dice.random() < 0.4)
    if dice.random() < 0.005:
        delta[dice.randrange(7)] = dice.choice(NASTY)
    return delta


class People:
    """A policy, operators and whoever else asks for something, at random."""

    def __init__(self, core: Controller, dice: random.Random) -> None:
        self._core, self._dice = core, dice
        self._sequence = 0

    def ask(self, now: Instant) -> None:
        """What they ask for in this tick, if anything."""
        core, dice = self._core, self._dice
        what = dice.random()
        if what < 0.10:
            self._sequence += 1
            rows = np.array(
                [_delta(dice, dice.choice((0.01, 0.08, 0.2))) for _ in range(dice.choice((1, 1, 2, 4, 16)))]
            )
            age_ns = int(dice.choice((0.01, 0.01, 0.1, 0.7)) * 1e9)
            core.on_chunk(ActionChunk(rows, now.ros_ns - age_ns, 0.2, "test", "go", self._sequence), now)
        elif what < 0.14:
            command = EndEffectorDelta(_delta(dice, 0.08), now.ros_ns, "base", dice.choice(("keys", "pad")))
            core.on_operator(command, now)
        elif what < 0.1415:
            core.estop("test")
        elif what < 0.150:
            core.hand_back(now)
        elif what < 0.151:
            core.on_instruction(dice.choice(("", "go")))
        elif what < 0.153:
            core.on_instruction("go")
            core.on_spec(SPEC, now)

    def tighten(self, now: Instant) -> ControllerConfig | None:
        """Other limits, or None."""
        del now
        dice = self._dice
        changes: dict[str, Any] = dice.choice(
            (
                {"bring_up_scale": dice.choice((0.1, 0.3, 1.0))},
                {"workspace_max_m": (dice.uniform(0.3, 0.9), dice.uniform(-0.2, 0.6), dice.uniform(0.2, 0.8))},
                {"workspace_min_m": (dice.uniform(0.0, 0.5), dice.uniform(-0.6, 0.2), dice.uniform(0.0, 0.3))},
            )
        )
        try:
            return self._core.config.replace(changes)
        except ConfigError:
            return None


class Watch:
    """Looks at the positions that leave a driver, one after the other."""

    def __init__(self, lower: FloatArray, upper: FloatArray, limits: tuple[FloatArray, ...], period_s: float) -> None:
        self._lower, self._upper = lower, upper
        self._limits = [
            (name, limit * period_s**order * (1.0 + 1e-6) + 2e-9)
            for order, (name, limit) in enumerate(
                zip(("joint speed", "joint acceleration", "joint jerk"), limits, strict=True), start=1
            )
        ]
        self._last: deque[FloatArray] = deque(maxlen=4)

    @property
    def rests(self) -> bool:
        """Whether the last positions are one."""
        last = list(self._last)
        return len(last) < 2 or all(np.abs(item - last[-1]).max() < 1e-5 for item in last)

    def begin(self, position: FloatArray) -> None:
        """From here on, at rest."""
        self._last.clear()
        self._last.extend([np.array(position)] * 4)

    def silence(self) -> bool:
        """Nothing was sent in this period: the arm is to stay. Returns whether that would be a jerk."""
        return bool(self._last) and bool(self.see(self._last[-1]))

    def see(self, position: FloatArray) -> list[str]:
        """Takes what was sent next; returns the limits that it breaks."""
        before = self._last[-1]
        self._last.append(np.array(position))
        rows = np.array(self._last)
        if not np.isfinite(rows).all():
            return ["not finite"]
        wrong = []
        if (position < np.minimum(self._lower, before) - 1e-7).any() or (
            position > np.maximum(self._upper, before) + 1e-7
        ).any():
            wrong.append("joint range")
        for order, (name, limit) in enumerate(self._limits, start=1):
            if (np.abs(np.diff(rows[-order - 1 :], n=order, axis=0)[0]) > limit).any():
                wrong.append(name)
        return wrong


def joint_stream(ticks: int, seed: int, *, collisions: bool = True) -> Tally:
    """Plays runs of six seconds at joint level until so many ticks are done."""
    import dataclasses

    from magma_control.motion.kinematics import Kinematics
    from magma_control.robots.robot_config import load_robot
    from magma_control.robots.robot_description import read_description

    robot = load_robot("panda")
    if not collisions:
        robot = dataclasses.replace(
            robot, collision=dataclasses.replace(robot.collision, enabled=False, links_above_table=())
        )
    kinematics = Kinematics(robot, read_description(robot.description), 0.0)
    tally = Tally()
    while tally.ticks < ticks:
        _JointRun(robot, kinematics, seed, tally).play(min(600, ticks - tally.ticks))
        seed += 1
    return tally


class _JointRun:
    """One arm at joint level and everything that goes wrong around it."""

    PERIOD_S = 0.01

    def __init__(self, robot: Any, kinematics: Any, seed: int, tally: Tally) -> None:
        from magma_control.drivers.base import ArmDriver, NoGripper
        from magma_control.joint_arm import JointArm, make_joint_motion

        self._dice = dice = random.Random(seed)
        self._seed, self._tally = seed, tally
        self._names = [*robot.joints.names, robot.gripper.joint]
        run = self

        class Driver(ArmDriver):
            """Remembers what goes out, and does not sleep between the instants of a brake."""

            def begin(self, position: FloatArray) -> None:
                super().begin(position)
                run.on_begin(position)

            def _send(self, command: Any) -> None:
                run.on_sent(command.position)

            def _brake(self, last: Any) -> None:
                # It stays at the end of its brake.
                for position in (*last.brake_positions, *[last.brake_positions[-1]] * 3):
                    run.on_sent(position)

        self._config = ControllerConfig(arm="joint_trajectory", robot="panda")
        self._now = Instant(0.0, EPOCH_NS)
        self._offset_ns = 0
        self._core = Controller(self._config, self._now)
        self._driver = Driver()
        motion = make_joint_motion(robot, kinematics, self._config)
        self._arm = JointArm(robot, kinematics, motion, self._driver, NoGripper())
        self._people = People(self._core, dice)
        limits = (
            kinematics.max_velocity,
            np.array(robot.per_joint("max_acceleration")),
            np.array(robot.per_joint("max_jerk")),
        )
        self._watch = Watch(kinematics.lower, kinematics.upper, limits, self.PERIOD_S)
        near = dice.choice((1.0, 1.0, 0.9, 0.5, 0.0))
        anywhere = kinematics.lower + np.array([dice.random() for _ in range(7)]) * (
            kinematics.upper - kinematics.lower
        )
        self._true = near * kinematics.home + (1.0 - near) * anywhere
        self._told = self._true.copy()
        self._fastest = 1.4 * kinematics.max_velocity * self.PERIOD_S
        self._lag_s = dice.choice((0.0, 0.0, 0.02, 0.1))
        self._sag = np.array([dice.uniform(-0.004, 0.004) for _ in range(7)]) * (dice.random() < 0.5)
        self._liar: FloatArray | None = None
        self._late: deque[tuple[int, list[str], list[float], int]] = deque()
        self._delay = dice.choice((0, 0, 1, 5))
        self._seen: deque[FloatArray] = deque([self._true + self._sag], maxlen=self._delay + 1)
        self._core.on_instruction("go")
        self._core.on_spec(SPEC, self._now)

    # What is looked at.

    def _where(self) -> str:
        return f"seed {self._seed}, {self._now.steady_s:.2f} s, {self._core.phase.name}"

    def on_begin(self, position: FloatArray) -> None:
        """A stream begins."""
        self._tally.streams += 1
        if not self._watch.rests:
            self._tally.wrong("a stream begins before the last one rests", self._where())
        # Nobody can know more than what the reports say, which are so late.
        if self._core.active and np.abs(position - self._seen[0]).max() > 0.02:
            self._tally.wrong("a stream begins where the arm is not", self._where())
        self._watch.begin(position)

    def on_sent(self, position: FloatArray) -> None:
        """Something goes out."""
        self._tally.commands += 1
        self._told = np.array(position)
        for what in self._watch.see(position):
            self._tally.wrong(what, self._where())

    # What happens.

    def play(self, ticks: int) -> None:
        """So many periods."""
        for _ in range(ticks):
            self._tally.ticks += 1
            self._tally.phases[self._core.phase.name] += 1
            steady_s = self._now.steady_s + self.PERIOD_S
            if self._dice.random() < 0.0003:
                self._offset_ns += int(self._dice.choice((-10.0, 10.0, -0.5, 0.5)) * 1e9)
            self._now = Instant(steady_s, EPOCH_NS + round(steady_s * 1e9) + self._offset_ns)
            self._report()
            self._people.ask(self._now)
            self._meddle()
            command = self._core.tick(self._now)
            if command is not None and (self._core.phase not in MOVING or not self._core.active):
                self._tally.wrong("a command that nobody may give", self._where())
            self._arm.apply(command, self._core)
            commands = self._tally.commands
            self._arm.advance(self._core)
            if self._tally.commands == commands and self._watch.silence():
                self._tally.wrong("silence in the middle of a motion", self._where())
            if self._driver.violation is not None:
                self._tally.wrong(f"stopped by the guard: {self._driver.violation.text}", self._where())
                return
            share = 1.0 if self._lag_s == 0.0 else min(1.0, self.PERIOD_S / self._lag_s)
            self._true = self._true + np.clip(share * (self._told - self._true), -self._fastest, self._fastest)

    def _report(self) -> None:
        dice = self._dice
        place = self._true + self._sag
        self._seen.append(place)
        if self._liar is not None and dice.random() < 0.5:
            self._hear(list(self._names), [*self._liar, 0.04], self._now.ros_ns - 1)
        names, values = list(self._names), [*place.tolist(), 0.04]
        what = dice.random()
        if what < 0.0005:
            values[dice.randrange(8)] = dice.choice(NASTY)
        elif what < 0.001:
            values[dice.randrange(7)] += dice.choice((-2.0, -0.5, 0.1, 0.3, 1.0))
        elif what < 0.0015:
            names, values = [*names, names[0]], [*values, values[0] + 1.0]
        elif what < 0.002:
            names, values = names[1:], values[1:]
        elif what < 0.0025:
            values = values[:-1]
        elif what < 0.004:
            names, values = ["wheel"], []
        elif what < 0.2:
            # In two parts.
            self._late.append((self._delay, names[:3], values[:3], self._now.ros_ns))
            names, values = names[3:], values[3:]
        elif what < 0.22:
            return
        self._late.append((self._delay, names, values, self._now.ros_ns))
        for _ in range(len(self._late)):
            waits, names, values, stamp_ns = self._late.popleft()
            if waits > 0:
                self._late.append((waits - 1, names, values, stamp_ns))
            else:
                self._hear(names, values, stamp_ns)

    def _hear(self, names: list[str], values: list[float], stamp_ns: int) -> None:
        state = self._arm.on_joint_state(names, values, stamp_ns, self._now, self._core)
        if state is not None:
            self._core.on_state(state, self._now)

    def _meddle(self) -> None:
        """Re-arms, the controller's life, other limits, hands on the arm, a second publisher that comes and goes."""
        core, dice, arm = self._core, self._dice, self._arm
        what = dice.random()
        if what < 0.015 and core.phase in (Phase.ESTOP, Phase.FAULT):
            if arm.refuse_rearm() is None and core.rearm(self._now).success:
                arm.start_anew()
        elif what < 0.0155 and core.active:
            core.deactivate("test")
            self._driver.stop()
        elif what < 0.035 and not core.active:
            arm.start_anew()
            core.activate(self._now)
        elif what < 0.041:
            config = self._people.tighten(self._now)
            if config is not None:
                core.reconfigure(config)
                arm.reconfigure(config)
        elif what < 0.042 and (arm.motion.at_rest or not arm.motion.synchronised):
            self._true = self._true + np.array([dice.uniform(-0.3, 0.3) for _ in range(7)]) * (dice.random() < 0.5)
            self._told = self._true.copy()
        elif what < (0.0422 if self._liar is None else 0.06):
            other = self._true + np.array([dice.uniform(-0.8, 0.8) for _ in range(7)])
            self._liar = other if self._liar is None else None


def delta_stream(ticks: int, seed: int) -> Tally:
    """Plays runs of a minute with an arm that takes deltas until so many ticks are done."""
    tally = Tally()
    while tally.ticks < ticks:
        _DeltaRun(seed, tally).play(min(3000, ticks - tally.ticks))
        seed += 1
    return tally


class _DeltaRun:
    """One arm that adds every command that it hears to its target."""

    PERIOD_S = 0.02

    def __init__(self, seed: int, tally: Tally) -> None:
        self._dice = dice = random.Random(seed)
        self._seed, self._tally = seed, tally
        changes: dict[str, Any] = {"bring_up_scale": dice.choice((1.0, 1.0, 0.5, 0.1))}
        changes["overlap"] = dice.choice(("replace", "blend", "ensemble"))
        self._now = Instant(0.0, EPOCH_NS)
        self._core = Controller(ControllerConfig(**changes), self._now)
        self._people = People(self._core, dice)
        self._target = np.array([dice.uniform(0.2, 0.85), dice.uniform(-0.5, 0.5), dice.uniform(0.0, 0.7)])
        self._place = self._target.copy()
        self._sag = np.array([0.0, 0.0, -0.003]) * (dice.random() < 0.5)
        self._out_s, self._back_s = dice.choice(((0.0, 0.0), (0.02, 0.005), (0.1, 0.01), (0.2, 0.2), (0.02, 0.9)))
        self._lost = dice.choice((0.0, 0.0, 0.1, 0.3))
        self._every = dice.choice((1, 1, 2, 10))
        self._flying: deque[tuple[float, FloatArray]] = deque()
        self._reports: deque[tuple[float, EndEffectorState]] = deque()
        self._last_s: float | None = None
        self._core.on_instruction("go")
        self._core.on_spec(SPEC, self._now)

    def _where(self) -> str:
        return f"seed {self._seed}, {self._now.steady_s:.2f} s, {self._core.phase.name}"

    def play(self, ticks: int) -> None:
        """So many ticks."""
        core, dice = self._core, self._dice
        for tick in range(ticks):
            self._tally.ticks += 1
            self._tally.phases[core.phase.name] += 1
            steady_s = self._now.steady_s + self.PERIOD_S
            self._now = now = Instant(steady_s, EPOCH_NS + round(steady_s * 1e9))
            self._arrive(steady_s)
            self._place = self._place + (self._target + self._sag - self._place) * 0.25
            if tick % self._every == 0:
                self._reports.append((steady_s + self._back_s, self._state()))
            while self._reports and self._reports[0][0] <= steady_s:
                core.on_state(self._reports.popleft()[1], now)
            self._people.ask(now)
            if core.phase in (Phase.ESTOP, Phase.FAULT) and dice.random() < 0.1:
                core.rearm(now)
            elif dice.random() < 0.001:
                core.fault("test")
            command = core.tick(now)
            if command is not None:
                self._look(command)
            if "command guard" in core.report(now).counts:
                self._tally.wrong("stopped by the guard", self._where())
                return

    def _state(self) -> EndEffectorState:
        place, target = self._place.copy(), self._target.copy()
        what = self._dice.random()
        if what < 0.003:
            place[self._dice.randrange(3)] = self._dice.choice(NASTY)
        elif what < 0.006:
            place = place + self._dice.uniform(-0.4, 0.4)
        return EndEffectorState(self._now.ros_ns, place, DOWN, target, DOWN, 1.0, 1.0)

    def _arrive(self, steady_s: float) -> None:
        config = self._core.config
        low, high = np.array(config.lowest_corner_m), np.array(config.workspace_max_m)
        while self._flying and self._flying[0][0] <= steady_s:
            before, self._target = self._target, self._target + self._flying.popleft()[1]
            if (self._target < np.minimum(low, before) - 1e-9).any() or (
                self._target > np.maximum(high, before) + 1e-9
            ).any():
                self._tally.wrong("the arm's target leaves the workspace", self._where())

    def _look(self, command: Command) -> None:
        self._tally.commands += 1
        config, delta = self._core.config, command.delta
        if self._core.phase not in MOVING:
            self._tally.wrong("a command that nobody may give", self._where())
        if not np.isfinite(delta).all() or not 0.0 <= delta[6] <= 1.0:
            self._tally.wrong("not finite, or no opening", self._where())
        scale, period_s = config.bring_up_scale, config.step_period_s
        longest = scale * min(config.max_step_translation_m, config.max_speed_m_s * period_s)
        widest = scale * min(config.max_step_rotation_rad, config.max_angular_speed_rad_s * period_s)
        if np.linalg.norm(delta[:3]) > longest + 1e-9 or np.linalg.norm(delta[3:6]) > widest + 1e-9:
            self._tally.wrong("step or speed", self._where())
        now_s = self._now.steady_s
        if self._last_s is not None and now_s - self._last_s < config.command_interval_s - 1e-6:
            self._tally.wrong("too early", self._where())
        self._last_s = now_s
        if self._dice.random() >= self._lost:
            self._flying.append((now_s + self._out_s, delta[:3].copy()))


def _play(arguments: tuple[str, int, int, bool]) -> Tally:
    level, ticks, seed, collisions = arguments
    return joint_stream(ticks, seed, collisions=collisions) if level == "joints" else delta_stream(ticks, seed)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("level", choices=("joints", "deltas"))
    parser.add_argument("--ticks", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--without-collisions", action="store_true", help="joints: leave out the slowest check")
    arguments = parser.parse_args()
    began_s, processes = time.monotonic(), arguments.processes
    share = -(-arguments.ticks // processes)
    parts = [
        (arguments.level, share, arguments.seed + 1_000_000 * part, not arguments.without_collisions)
        for part in range(processes)
    ]
    total = Tally()
    with ProcessPoolExecutor(processes) as pool:
        for tally in pool.map(_play, parts):
            total.add(tally)
    print(f"{arguments.level}, seed {arguments.seed}, {processes} processes, {time.monotonic() - began_s:.0f} s")
    print(total)
    raise SystemExit(1 if total.violations else 0)


if __name__ == "__main__":
    main()
