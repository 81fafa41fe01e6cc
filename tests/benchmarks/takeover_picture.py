"""A take-over in the real graph in simulation, recorded, replayed and drawn.

    python tests/benchmarks/takeover_picture.py --out DIR

The expert begins to put the carrot on the plate; an operator with a gamepad takes over while it reaches for it, moves
the arm away and back, and hands it back; the expert finishes. Everything goes through the nodes: the gamepad is a
script that publishes sensor_msgs/Joy. Writes DIR/takeover.png, DIR/takeover.mp4 and the recording.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import rclpy
from magma_interfaces.msg import ControllerState, EndEffectorState, EpisodeStatus, TeleopStatus
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Joy

from magma_common import qos
from magma_common.conversions import stamp_to_ns
from magma_control.commands import Source
from magma_recorder import topics
from magma_recorder.plots import PHASE_COLOURS, shade
from magma_recorder.recordings.image_compression import decompress
from magma_recorder.recordings.recording import Recording
from magma_recorder.replay import Replay, replay

DEAD_MAN, HAND_BACK = 10, 6
PATIENCE_S = 240.0
PICTURES = 6


class Watcher:
    """Sees the robot, and holds a gamepad."""

    def __init__(self, domain: int) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = Node("watcher", context=self._context)
        self.controller: ControllerState | None = None
        self.episode: EpisodeStatus | None = None
        self.arm: EndEffectorState | None = None
        self.teleop: TeleopStatus | None = None
        self.axes, self.held = [0.0] * 6, set[int]()
        node = self.node
        node.create_subscription(
            ControllerState, topics.CONTROLLER_STATE, lambda m: setattr(self, "controller", m), qos.STATE
        )
        node.create_subscription(EpisodeStatus, topics.EPISODE_STATUS, lambda m: setattr(self, "episode", m), qos.STATE)
        node.create_subscription(
            EndEffectorState, topics.END_EFFECTOR_STATE, lambda m: setattr(self, "arm", m), qos.ROBOT_STATE
        )
        node.create_subscription(
            TeleopStatus, topics.TELEOP_STATUS, lambda m: setattr(self, "teleop", m), qos.ROBOT_STATE
        )
        self._joy = node.create_publisher(Joy, "/joy", qos.JOY)
        node.create_timer(0.05, self._publish)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def wait(self, condition: Any, what: str) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline_s:
                raise SystemExit(f"waited in vain for {what}; {self.controller}")
            time.sleep(0.02)

    def hold(self, seconds: float, *buttons: int, **axes: float) -> None:
        """Holds buttons and sticks (x, y: left stick; up, down: triggers) for a while."""
        self.held = set(buttons)
        self.axes = [axes.get("y", 0.0), axes.get("x", 0.0), 0.0, 0.0, -axes.get("down", 0.0), -axes.get("up", 0.0)]
        time.sleep(seconds)

    def close(self) -> None:
        self._context.try_shutdown()
        self._thread.join(10.0)
        self._executor.shutdown()
        self.node.destroy_node()

    def _publish(self) -> None:
        self._joy.publish(Joy(axes=self.axes, buttons=[int(index in self.held) for index in range(21)]))

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()


def play(out: Path, domain: int) -> Path:
    """Lets it happen; returns the recording's folder."""
    os.environ.update({"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"})
    recordings = out / "recordings"
    arguments = [
        "policy:=expert",
        "task:=carrot_on_plate",
        "clock:=realtime",
        "teleop:=gamepad",
        f"record:={recordings}",
    ]
    ros2 = str(Path(sys.executable).with_name("ros2"))
    with (out / "launch.log").open("wb") as log:
        launch = subprocess.Popen(
            [ros2, "launch", "magma_bringup", "robot.launch.py", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    person = Watcher(domain)
    try:
        person.wait(lambda: person.teleop is not None and person.teleop.text == "ready", "the gamepad's node")
        person.wait(lambda: person.arm is not None and person.arm.pose.position.z < 0.15, "the arm to reach down")
        person.hold(0.4, DEAD_MAN)
        person.hold(1.2, DEAD_MAN, y=-1.0, up=0.8)
        person.hold(0.6, DEAD_MAN)
        person.hold(1.0, DEAD_MAN, y=0.9, x=-0.5)
        person.hold(0.4, DEAD_MAN)
        person.hold(0.8)
        person.hold(0.3, HAND_BACK)
        person.hold(0.1)
        person.wait(
            lambda: person.controller is not None and person.controller.phase == ControllerState.AUTONOMOUS,
            "the policy to go on",
        )
        person.wait(lambda: person.episode is not None and person.episode.success, "the carrot on the plate")
        time.sleep(2.0)
    finally:
        person.close()
        launch.send_signal(2)
        try:
            launch.wait(30.0)
        except subprocess.TimeoutExpired:
            launch.kill()
    (folder,) = recordings.iterdir()
    return folder


def pictures_of(folder: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """Stamps (n,) in nanoseconds and camera pictures."""
    stamps, pictures = [], []
    for item in Recording(folder).read({topics.CAMERA + "/compressed"}):
        message = item.message
        stamps.append(stamp_to_ns(message.header.stamp))
        pictures.append(decompress(message))
    return np.array(stamps, dtype=np.int64), pictures


def draw(result: Replay, stamps: np.ndarray, pictures: list[np.ndarray], out: Path) -> None:
    """Pictures on top; phase, and both sides' commands below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    commands = result.commands
    start_ns, end_ns = commands[0].ros_ns, commands[-1].ros_ns
    operated = [item.ros_ns for item in commands if item.command.source is Source.OPERATOR]
    moments = [
        start_ns + (operated[0] - start_ns) // 2,
        operated[0] - 10**8,
        operated[len(operated) // 3],
        operated[-1],
        operated[-1] + (end_ns - operated[-1]) // 2,
        end_ns,
    ]
    figure = plt.figure(figsize=(11, 8.2), constrained_layout=True)
    grid = figure.add_gridspec(4, PICTURES, height_ratios=[1.5, 1.1, 1.1, 0.9])
    for column, moment in enumerate(moments):
        panel = figure.add_subplot(grid[0, column])
        panel.imshow(pictures[int(np.argmin(np.abs(stamps - moment)))])
        panel.set_title(f"{(moment - start_ns) * 1e-9:.1f} s", fontsize=9)
        panel.axis("off")
    for row, (axis, label) in enumerate(((1, "y, mm"), (2, "z, mm")), start=1):
        panel = figure.add_subplot(grid[row, :])
        shade(panel, result.phases, result.end_ns, start_ns)
        times = [(state.ros_ns - start_ns) * 1e-9 for state in result.states]
        panel.plot(
            times, [1e3 * state.position[axis] for state in result.states], color="#2ca02c", label="arm, measured"
        )
        panel.plot(
            times,
            [1e3 * state.target_position[axis] for state in result.states],
            color="#1f77b4",
            drawstyle="steps-post",
            lw=1,
            label="commanded",
        )
        panel.set_ylabel(label)
        panel.set_xlim(0.0, (end_ns - start_ns) * 1e-9)
        panel.grid(alpha=0.3)
        if row == 1:
            panel.legend(fontsize=8, loc="upper right")
    panel = figure.add_subplot(grid[3, :])
    shade(panel, result.phases, result.end_ns, start_ns)
    for source, marker, colour, label in (
        (Source.POLICY, "o", "#08519c", "policy's commands"),
        (Source.OPERATOR, "s", "#d94801", "operator's commands"),
    ):
        items = [item for item in commands if item.command.source is source]
        panel.plot(
            [(item.ros_ns - start_ns) * 1e-9 for item in items],
            [1e3 * np.linalg.norm(item.command.delta[:3]) / 0.2 for item in items],
            marker,
            ms=3.5,
            color=colour,
            label=label,
        )
    panel.set_ylabel("speed, mm/s")
    panel.set_xlabel("s")
    panel.set_xlim(0.0, (end_ns - start_ns) * 1e-9)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, loc="upper right")
    seen = {phase for _, phase in result.phases}
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for phase, colour in PHASE_COLOURS.items() if phase in seen]
    names = [phase.name for phase in PHASE_COLOURS if phase in seen]
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=8)
    figure.savefig(out, dpi=75)
    plt.close(figure)


def film(result: Replay, stamps: np.ndarray, pictures: list[np.ndarray], out: Path) -> None:
    """H.264, in real time; a bar at the bottom has the colour of the phase."""
    height, width = (size - size % 16 for size in pictures[0].shape[:2])
    writer = imageio_ffmpeg.write_frames(
        str(out), (width, height), fps=5, codec="libx264", pix_fmt_out="yuv420p", macro_block_size=1
    )
    writer.send(None)
    phases = result.phases
    start_ns, end_ns = result.commands[0].ros_ns - 10**9, result.commands[-1].ros_ns + 10**9
    for stamp, picture in zip(stamps, pictures, strict=True):
        if not start_ns <= stamp <= end_ns:
            continue
        phase = [item for moment, item in phases if moment <= stamp][-1:] or [phases[0][1]]
        colour = [int(PHASE_COLOURS[phase[0]][index : index + 2], 16) for index in (1, 3, 5)]
        frame = picture[:height, :width].copy()
        frame[-max(6, height // 24) :] = colour
        writer.send(np.ascontiguousarray(frame))
    writer.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recording", type=Path, help="draw this one instead of playing")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    folder = options.recording or play(options.out, random.randrange(100, 230))
    result = replay(folder)
    print(result.text())
    stamps, pictures = pictures_of(folder)
    draw(result, stamps, pictures, options.out / "takeover.png")
    film(result, stamps, pictures, options.out / "takeover.mp4")
    print(f"drawn: {options.out / 'takeover.png'}, {options.out / 'takeover.mp4'}; recording: {folder}")
    return 0 if result.exact else 1


if __name__ == "__main__":
    sys.exit(main())
