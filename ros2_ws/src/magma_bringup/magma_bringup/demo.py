"""Starts the robot graph with the simulator, plays episodes through it, and ends everything again.

python -m magma_bringup.demo --task carrot_on_plate --episodes 10 --policy magma-tiny
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rclpy

from magma_bringup.demo_page import RECORDS, read_results, write_page
from magma_bringup.domain import check_alone, domain_id, free_domain
from magma_bringup.launch_log import why_it_ended
from magma_common.hangup import survive_hangup
from magma_contracts.errors import ConfigError
from magma_contracts.outputs import check_folder, explained

TASKS = (
    "carrot_on_plate",
    "spoon_on_towel",
    "stack_blocks",
    "eggplant_in_basket",
    "widowx_carrot_on_plate",
    "widowx_spoon_on_towel",
    "widowx_stack_cube",
    "widowx_put_eggplant_in_basket",
)
ARMS = ("sim_delta", "joint_trajectory", "follow_joint_trajectory")
"""Those that the simulator has."""
POLICY_HELP = "name or folder of a checkpoint, ws://host:port of a policy server, expert, hold or random"
TELEOP = ("none", "keyboard", "gamepad", "spacemouse", "leader", "scripted")
END_TIMEOUT_S = 5.0
"""The graph has so long to end by itself."""


@dataclass(frozen=True)
class DemoOptions:
    """What the command line says; see `parse`."""

    task: str
    variant: str
    episodes: int
    first_layout: int
    policy: str
    control: str
    arm: str
    teleop: str
    record: str
    clock: str
    device: str
    out: Path
    videos: bool
    hold: int
    config: str
    step_timeout_s: float
    start_timeout_s: float

    def launch_arguments(self) -> list[str]:
        """Arguments for robot.launch.py."""
        values = {
            "task": self.task,
            "variant": self.variant,
            "layout": str(self.first_layout),
            "clock": self.clock,
            "policy": self.policy,
            "control": self.control,
            "arm": self.arm,
            "teleop": self.teleop,
            "device": self.device,
            "after_episode": "stop",
            "success_hold_steps": str(self.hold),
            "instruction": "none",
            "end_with_node": "true",
            **({"records": str((self.out / RECORDS).resolve())} if self.videos else {}),
            **({"config": self.config} if self.config else {}),
            # Nodes may be started in another folder.
            **({"record": str(Path(self.record).resolve())} if self.record else {}),
        }
        return [f"{name}:={value}" for name, value in values.items()]

    def runner_arguments(self) -> list[str]:
        """Parameters for the episode_runner node, as its command line takes them."""
        values = {
            "task": self.task,
            "variant": self.variant,
            "episodes": str(self.episodes),
            "first_layout": str(self.first_layout),
            "clock": self.clock,
            "policy": self.policy,
            "arm": self.arm,
            "teleop": self.teleop,
            "success_hold_steps": str(self.hold),
            "out": str(self.out),
            "videos": str(self.videos).lower(),
            "step_timeout_s": repr(self.step_timeout_s),
            "start_timeout_s": repr(self.start_timeout_s),
        }
        parameters = [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]
        return ["--ros-args", *parameters]


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that there are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in ("", None) else super()._get_help_string(action)


def parse(arguments: Sequence[str] | None = None) -> DemoOptions:
    """Reads the command line; ends the program with a message when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="./run demo",
        description="Plays episodes of a simulated task through the robot graph: camera, policy, controller, arm.",
        formatter_class=_Help,
    )
    add = parser.add_argument
    add("--task", default="carrot_on_plate", choices=TASKS, help="what the robot is asked to do")
    add("--episodes", type=_positive, default=10, help="number of episodes, on consecutive layouts")
    add(
        "--policy",
        default="magma-tiny",
        help=POLICY_HELP,
    )
    add("--variant", default="eval", choices=("eval", "random"), help="fixed evaluation layouts, or training layouts")
    add("--first-layout", type=_not_negative, default=0, help="layout of the first episode")
    add("--control", default="none", choices=("none", "blind", "deaf"), help="control experiment: cannot see or read")
    add("--arm", default=ARMS[0], choices=ARMS, help="takes end-effector deltas, or is told joint by joint")
    add("--teleop", default="none", choices=TELEOP, help="who may take over; scripted: the expert corrects the policy")
    add("--record", default="", metavar="DIR", help="folder to record everything into")
    add("--clock", default="lockstep", choices=("lockstep", "realtime"), help="the world waits for the policy, or not")
    add("--device", default="auto", choices=("auto", "cuda", "cpu"), help="where the policy runs")
    add("--out", type=Path, help="folder for results and videos (default: runs/demo/<time>)")
    add("--no-videos", dest="videos", action="store_false", help="write no videos")
    add("--hold", type=_not_negative, default=0, help="end an episode when the goal held so many steps; 0 = play all")
    add("--config", default="", help="YAML file with parameters of any node")
    add("--step-timeout", type=float, default=30.0, metavar="S", help="give up when no step comes for so many seconds")
    add("--start-timeout", type=float, default=120.0, metavar="S", help="give up when the graph does not start in time")
    given = parser.parse_args(arguments)
    out = given.out or Path("runs") / "demo" / time.strftime("%Y%m%d-%H%M%S")
    return DemoOptions(
        task=given.task,
        variant=given.variant,
        episodes=given.episodes,
        first_layout=given.first_layout,
        policy=given.policy,
        control=given.control,
        arm=given.arm,
        teleop=given.teleop,
        record=given.record,
        clock=given.clock,
        device=given.device,
        out=out,
        videos=given.videos,
        hold=given.hold,
        config=given.config,
        step_timeout_s=given.step_timeout,
        start_timeout_s=given.start_timeout,
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, not {value}")
    return value


class Graph:
    """The launched robot graph: a process of its own, with its output in a file."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        """Starts it; raises FileNotFoundError when there is no `ros2` command."""
        beside = Path(sys.executable).with_name("ros2")
        command = shutil.which("ros2") or (str(beside) if beside.exists() else None)
        if command is None:
            raise FileNotFoundError("no `ros2` command: activate the environment or source ROS 2")
        self.log = log
        self._file = log.open("w", encoding="utf-8")
        # In a group of its own, so that Ctrl-C reaches this program only, which then ends the graph in good order.
        self._process = subprocess.Popen(
            [command, "launch", "magma_bringup", "robot.launch.py", *arguments],
            stdout=self._file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def running(self) -> bool:
        """Whether the launch is still there."""
        return self._process.poll() is None

    def ended(self) -> str | None:
        """Why the launch has ended by itself; None while it is there."""
        if self.running():
            return None
        return why_it_ended(self.log.read_text(encoding="utf-8", errors="replace").splitlines())

    def end(self) -> None:
        """Asks it to end, and makes it when it does not."""
        for number, patience_s in ((signal.SIGINT, END_TIMEOUT_S), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
            if not self.running():
                break
            # The launch ends its nodes; only when that fails the whole group is meant.
            send = os.kill if number == signal.SIGINT else os.killpg
            try:
                send(self._process.pid, number)
                self._process.wait(timeout=patience_s)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._file.close()


def keep_logs_with_results(out: Path) -> None:
    """Gives ROS a folder for its logs where the home, in which it would keep them, cannot be written."""
    if os.environ.get("ROS_LOG_DIR") or os.environ.get("ROS_HOME"):
        return
    try:
        check_folder(Path("~/.ros/log").expanduser(), "ROS_LOG_DIR")
    except (ConfigError, RuntimeError):  # not to be written, or no home at all
        os.environ["ROS_LOG_DIR"] = str((out / "log").resolve())


def play(options: DemoOptions) -> int:
    """Runs the demo; exit status: 0 when the graph did its work, whatever the success rate."""
    check_folder(options.out, "--out")
    options.out.mkdir(parents=True, exist_ok=True)
    keep_logs_with_results(options.out)
    with contextlib.ExitStack() as held:
        if os.environ.get("ROS_DOMAIN_ID", "").strip():
            check_alone(("simulator", "controller"))
        else:
            # Beside another demo, or a robot that somebody else drives, neither must notice the other.
            os.environ["ROS_DOMAIN_ID"] = str(held.enter_context(free_domain()))
        return _play_in_domain(options, domain_id())


def _play_in_domain(options: DemoOptions, domain: int) -> int:
    from magma_bringup.episode_runner import EpisodeRunner, run

    rclpy.init(args=options.runner_arguments())
    runner = EpisodeRunner()
    print(
        f"{options.episodes} episodes of {options.task} ({options.variant}, {options.clock}), arm {options.arm}, "
        f"policy {options.policy}"
        + (f" ({options.control})" if options.control != "none" else "")
        + f"\nstarting the robot graph in ROS domain {domain} (its output: {options.out / 'launch.log'}) …",
        flush=True,
    )
    graph = Graph(options.launch_arguments(), options.out / "launch.log")
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        print(text, flush=True)

    try:
        runner.watch_over(graph.ended)
        status = run(runner, say)
    finally:
        # A second Ctrl-C must not leave nodes behind.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        graph.end()
        signal.signal(signal.SIGINT, previous)
        runner.destroy_node()
        rclpy.try_shutdown()
    results = read_results(options.out)
    if results:
        print(f"page         {write_page(options.out, results, said[-1])}", flush=True)
    if status == 1:
        print(f"log          {graph.log}", flush=True)
    return status


def main() -> None:
    """Entry point."""
    survive_hangup()
    try:
        raise SystemExit(play(parse()))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ConfigError, OSError) as error:
        print(f"error: {explained(error)}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
