"""How long the controller's process takes from the capture time in a chunk to the command, and how much of a core.

    python tests/benchmarks/capture_to_command.py --commands 300

An arm that reports at 50 Hz and a policy that answers at once, both in this process; nothing but messages is used, so
that another version of the packages can be measured by its own Python: `/elsewhere/.venv/bin/python THIS_FILE`.
Compare two versions in turns (A B A B), on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np

STEP_PERIOD_S, CHUNK_PERIOD_S = 0.05, 0.12
"""Chunks come so much farther apart than steps that none has to wait for its turn: what is measured is the way."""
REPORT_S = 0.02


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Graph:
    """The arm and the policy."""

    def __init__(self) -> None:
        import rclpy
        from magma_interfaces.msg import ActionChunk, ActionSpec, EndEffectorDelta, EndEffectorState
        from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
        from std_msgs.msg import String

        from magma_common import qos

        rclpy.init()
        self.node = rclpy.create_node("benchmark")
        self.ages_ms: list[float] = []
        self._chunk_type, self._delta_type = ActionChunk, EndEffectorDelta
        self._chunks = self.node.create_publisher(ActionChunk, "/magma/action_chunk", qos.COMMAND)
        self._arm = self.node.create_publisher(EndEffectorState, "/magma/end_effector_state", qos.ROBOT_STATE)
        self._spec = self.node.create_publisher(ActionSpec, "/magma/action_spec", qos.STATE)
        self._instruction = self.node.create_publisher(String, "/magma/instruction", qos.STATE)
        self.node.create_subscription(EndEffectorDelta, "/magma/command", self._on_command, qos.COMMAND)
        self._state = EndEffectorState()
        self._state.header.frame_id = "base"
        for pose in (self._state.pose, self._state.target_pose):
            pose.position.x, pose.position.z, pose.orientation.x, pose.orientation.w = 0.5, 0.3, 1.0, 0.0
        self._state.gripper = self._state.gripper_target = 1.0
        self._sequence = 0
        self._spec.publish(
            ActionSpec(
                policy="benchmark", horizon=2, step_period_s=STEP_PERIOD_S, frame="base", rotation="axis_angle",
                gripper="absolute_open_1", statistics_key="none", camera="third_person", image_height=128,
                image_width=128, proprioception=True,
            )
        )  # fmt: skip
        self._instruction.publish(String(data="go"))
        self.node.create_timer(REPORT_S, self._report)
        self.node.create_timer(CHUNK_PERIOD_S, self._act)
        executor = SingleThreadedExecutor()
        executor.add_node(self.node)

        def spin() -> None:
            with contextlib.suppress(ExternalShutdownException):
                executor.spin()

        threading.Thread(target=spin, daemon=True).start()

    def _report(self) -> None:
        self._state.header.stamp = self.node.get_clock().now().to_msg()
        self._arm.publish(self._state)

    def _act(self) -> None:
        self._sequence += 1
        step = self._delta_type(gripper=1.0)
        step.translation.y = 0.002 if self._sequence % 2 else -0.002
        chunk = self._chunk_type(
            policy="benchmark", instruction="go", sequence=self._sequence, step_period_s=STEP_PERIOD_S
        )
        stamp = self.node.get_clock().now().to_msg()
        chunk.header.stamp = step.header.stamp = stamp
        chunk.header.frame_id = step.header.frame_id = "base"
        chunk.steps = [step]
        self._chunks.publish(chunk)

    def _on_command(self, message: object, info: dict[str, int]) -> None:
        stamp = message.header.stamp  # type: ignore[attr-defined]
        self.ages_ms.append((info["source_timestamp"] - stamp.sec * 10**9 - stamp.nanosec) * 1e-6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=300)
    parser.add_argument("--domain", type=int, default=9, help="ROS_DOMAIN_ID; tests take those from 10 on")
    given = parser.parse_args()
    os.environ["ROS_DOMAIN_ID"] = str(given.domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    command = [
        sys.executable,
        "-m",
        "magma_control.controller_node",
        "--ros-args",
        "-p",
        f"step_period_s:={STEP_PERIOD_S}",
    ]
    controller = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    graph = Graph()
    try:
        while len(graph.ages_ms) < 20:  # discovery, and what is computed once
            time.sleep(0.05)
        graph.ages_ms.clear()
        began_s, began_cpu_s = time.monotonic(), cpu_s(controller.pid)
        while len(graph.ages_ms) < given.commands:
            time.sleep(0.05)
        used_s, took_s = cpu_s(controller.pid) - began_cpu_s, time.monotonic() - began_s
    finally:
        controller.terminate()
        controller.wait(60.0)
    ages = np.array(graph.ages_ms[: given.commands])
    print(
        json.dumps(
            {
                "commands": len(ages),
                **{f"p{p}_ms": round(float(np.percentile(ages, p)), 3) for p in (50, 95, 99)},
                "controller_ms_per_command": round(used_s * 1e3 / len(ages), 3),
                "controller_cores": round(used_s / took_s, 4),
            }
        ),
        flush=True,
    )
    os._exit(0)  # the executor's thread is still at it


if __name__ == "__main__":
    main()
