"""What the safety stage costs per tick, and how well 100 Hz is held.

python tests/benchmarks/control.py stage                 # cost per tick of the whole stage, inverse kinematics included
python tests/benchmarks/control.py graph --minutes 10    # the robot graph, simulated joint-level arm, in real time

`graph` starts robot.launch.py with the scripted expert, re-arms when an episode's reset has moved the arm, and reads
the controller's own account of its control thread from /diagnostics.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

PERIOD_S = 0.01
STEP_TICKS = 20
STARTING_S = 300.0
"""Longest wait for the simulator on a machine that is busy with other work."""
EPOCH_NS = 1_800_000_000_000_000_000


def stage(ticks: int, seed: int) -> None:
    """A policy's chunk of two steps every 0.2 s, the arm's report every tick: everything between message and driver."""
    from magma_contracts.action_spec import ActionSpec
    from magma_contracts.actions import ActionChunk
    from magma_contracts.geometry.rotations import (
        axis_angle_from_quaternion,
        conjugate,
        multiply,
        quaternion_from_matrix,
    )
    from magma_control.config import ControllerConfig
    from magma_control.controller import Controller
    from magma_control.drivers.base import ArmDriver, NoGripper
    from magma_control.freshness import Instant
    from magma_control.joint_arm import JointArm, make_joint_motion
    from magma_control.motion.kinematics import Kinematics
    from magma_control.robots.robot_config import load_robot
    from magma_control.robots.robot_description import read_description

    class Following(ArmDriver):
        position = np.zeros(7)

        def _send(self, command) -> None:
            self.position = command.position

    robot = load_robot("panda")
    kinematics = Kinematics(robot, read_description(robot.description), 0.0)
    config = ControllerConfig(arm="joint_trajectory", robot="panda")
    now = Instant(0.0, EPOCH_NS)
    core = Controller(config, now)
    driver = Following()
    driver.position = kinematics.home
    arm = JointArm(robot, kinematics, make_joint_motion(robot, kinematics, config), driver, NoGripper())
    spec = ActionSpec(
        "benchmark", 2, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 128, 128, True
    )
    core.on_instruction("go")
    core.on_spec(spec, now)
    beginning = quaternion_from_matrix(kinematics.forward(kinematics.home)[1])
    names, generator = robot.joints.names, np.random.default_rng(seed)
    costs, reports, moving = [], [], 0
    cpu_s = time.process_time()
    for tick in range(ticks):
        now = Instant(tick * PERIOD_S, EPOCH_NS + round(tick * PERIOD_S * 1e9))
        began_s = time.perf_counter()
        state = arm.on_joint_state(names, driver.position.tolist(), now.ros_ns, now, core)
        if state is not None:
            core.on_state(state, now)
        reports.append(time.perf_counter() - began_s)
        began_s = time.perf_counter()
        if tick % STEP_TICKS == 1:
            centre = np.array([0.5, 0.0, 0.3]) - arm.motion.goal[0]
            steps = generator.uniform(-0.04, 0.04, (2, 7))
            steps[:, :3] += 0.1 * centre
            # Back towards the orientation of the beginning, so that the walk does not end at a joint's range.
            turned = multiply(arm.motion.goal[1], conjugate(beginning))
            steps[:, 3:6] = 3.0 * steps[:, 3:6] - 0.3 * axis_angle_from_quaternion(turned)
            steps[:, 6] = generator.random(2)
            core.on_chunk(ActionChunk(steps, now.ros_ns, 0.2, "benchmark", "go", tick), now)
        arm.apply(core.tick(now), core)
        arm.advance(core)
        costs.append(time.perf_counter() - began_s)
        moving += not arm.motion.at_rest
    cpu_ms = (time.process_time() - cpu_s) / ticks * 1e3
    cost, report = np.array(costs[200:]) * 1e3, np.array(reports[200:]) * 1e3
    print(
        f"{ticks} ticks, {100.0 * moving / ticks:.0f} % of them moving, collision check {kinematics.checks_collisions}"
    )
    print(f"given up or cut: {dict(arm.motion.counts)}")
    print(f"{'milliseconds':<34}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}")
    for name, values in (
        ("tick: core, path, IK, checks", cost),
        ("report of the arm", report),
        ("both", cost + report),
    ):
        p50, p95, p99 = np.percentile(values, [50, 95, 99])
        print(f"{name:<34}{p50:>9.3f}{p95:>9.3f}{p99:>9.3f}{values.max():>9.3f}")
    print(f"CPU time per tick, this benchmark's own part included: {cpu_ms:.3f} ms on average")


def graph(minutes: float, domain: int, extra: list[str]) -> None:
    """Runs the graph and prints the controller's account at the end."""
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from magma_interfaces.msg import ControllerState
    from rclpy.node import Node
    from std_srvs.srv import Trigger

    from magma_common import qos

    launch = [
        "ros2", "launch", "magma_bringup", "robot.launch.py", "policy:=expert", "arm:=joint_trajectory",
        "clock:=realtime", "variant:=random", "after_episode:=reset", *extra,
    ]  # fmt: skip
    log = tempfile.NamedTemporaryFile("w+", suffix=".log", delete=False)  # noqa: SIM115 - outlives this function
    process = subprocess.Popen(launch, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    rclpy.init()
    node = Node("control_benchmark")
    latest: dict[str, str] = {}
    phases: dict[int, int] = {}

    def on_diagnostics(array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name == "controller":
                latest.update({value.key: value.value for value in status.values})

    # A world that begins its next episode by itself takes the arm to another place, which is a fault, and rightly so.
    rearm = node.create_client(Trigger, "/magma/rearm")

    def on_state(state: ControllerState) -> None:
        phases[state.phase] = phases.get(state.phase, 0) + 1
        if state.phase == ControllerState.FAULT and rearm.service_is_ready():
            rearm.call_async(Trigger.Request())

    node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, qos.DIAGNOSTICS)
    node.create_subscription(ControllerState, "/magma/controller_state", on_state, qos.STATE)
    try:
        waiting_until_s = time.monotonic() + STARTING_S
        while int(latest.get("commands_sent", "0")) == 0:
            if time.monotonic() > waiting_until_s or process.poll() is not None:
                sys.exit(f"the graph does not move the arm; its output: {log.name}")
            rclpy.spin_once(node, timeout_sec=0.5)
        first = dict(latest)
        began_s = time.monotonic()
        while time.monotonic() - began_s < minutes * 60.0:
            rclpy.spin_once(node, timeout_sec=0.5)
        seconds = time.monotonic() - began_s
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20.0)
        node.destroy_node()
        rclpy.try_shutdown()
    ticks = int(latest["control_ticks"]) - int(first["control_ticks"])
    missed = int(latest["control_ticks_missed"]) - int(first["control_ticks_missed"])
    print(f"{seconds:.0f} s, {ticks} ticks ({ticks / seconds:.2f} Hz), {missed} periods missed")
    print(f"share missed {100.0 * missed / max(1, ticks + missed):.3f} %, commands sent {latest['commands_sent']}")
    print(f"load of the machine (1, 5, 15 minutes): {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    for key, value in sorted(latest.items()):
        if key.startswith(("control_", "count", "capture")):
            print(f"  {key:<40} {value}")
    print(f"controller states by phase: {phases}")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of_stage = commands.add_parser("stage")
    of_stage.add_argument("--ticks", type=int, default=20000)
    of_stage.add_argument("--seed", type=int, default=0)
    of_graph = commands.add_parser("graph")
    of_graph.add_argument("--minutes", type=float, default=10.0)
    of_graph.add_argument("--domain", type=int, default=random.randrange(101, 200))
    of_graph.add_argument("extra", nargs="*", help="further arguments of the launch file")
    arguments = parser.parse_args()
    if arguments.command == "stage":
        stage(arguments.ticks, arguments.seed)
    else:
        graph(arguments.minutes, arguments.domain, arguments.extra)


if __name__ == "__main__":
    main()
