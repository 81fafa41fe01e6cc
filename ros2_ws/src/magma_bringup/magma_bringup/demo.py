"""Plays episodes of a simulated task through the robot graph: camera, policy, controller, arm.

Starts the graph with the simulator, has its episode runner play a suite of one task, and ends everything again.
python -m magma_bringup.demo --task carrot_on_plate --episodes 10 --policy magma-tiny
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import rclpy
import tyro
from rclpy.signals import SignalHandlerOptions
from tyro.constructors import PrimitiveConstructorSpec

from magma_bringup.episodes.demo_page import read_results, write_page
from magma_bringup.launching.domain import check_alone, domain_id, free_domain
from magma_bringup.launching.launched_graph import LaunchedGraph
from magma_common.process.hangup import INTERRUPTS, heed_interrupts
from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import check_folder, explained
from magma_eval.episodes import Variant
from magma_eval.policies.choice import PolicyChoice
from magma_eval.suites import one_task, plain_tasks

_TASKS = tuple(plain_tasks())
TaskName = Annotated[
    str,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(_TASKS)}}}",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value],
        choices=_TASKS,
    ),
]
"""A task that a suite plays as it is."""
OnlyWhenGiven = tyro.conf.arg(help_behavior_hint="")


@dataclass(frozen=True)
class DemoOptions:
    """What the command line says; see `parse`."""

    task: TaskName = "carrot_on_plate"
    """what the robot is asked to do"""
    episodes: int = 10
    """number of episodes, on consecutive layouts"""
    policy: str = "magma-tiny"
    """name or folder of a checkpoint, ws://host:port of a policy server (or openpi://, vla-eval://), expert, hold or
    random"""
    variant: Variant = "eval"
    """fixed evaluation layouts, or training layouts"""
    first_layout: int = 0
    """layout of the first episode"""
    control: Literal["none", "blind", "deaf"] = "none"
    """control experiment: cannot see or read"""
    arm: Literal["sim_delta", "joint_trajectory", "follow_joint_trajectory"] = "sim_delta"
    """takes end-effector deltas, or is told joint by joint"""
    teleop: Literal["none", "keyboard", "gamepad", "spacemouse", "leader", "scripted"] = "none"
    """who may take over; scripted: the expert corrects the policy"""
    record: Annotated[str, tyro.conf.arg(metavar="DIR"), OnlyWhenGiven] = ""
    """folder to record everything into"""
    clock: Literal["lockstep", "realtime"] = "lockstep"
    """the world waits for the policy, or not"""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """where the policy runs"""
    out: Annotated[Path, tyro.conf.arg(help_behavior_hint="(default: runs/demo/<time>)")] = field(
        default_factory=lambda: Path("runs") / "demo" / time.strftime("%Y%m%d-%H%M%S")
    )
    """folder for results and videos; given again, it goes on with what is missing"""
    videos: bool = True
    """write a video of each episode"""
    hold: int = 0
    """end an episode when the goal held so many steps; 0 = play all"""
    config: Annotated[str, tyro.conf.arg(metavar="FILE"), OnlyWhenGiven] = ""
    """YAML file with parameters of any node"""
    step_timeout_s: Annotated[float, tyro.conf.arg(name="step-timeout", metavar="S")] = 30.0
    """give up when no step comes for so many seconds"""
    start_timeout_s: Annotated[float, tyro.conf.arg(name="start-timeout", metavar="S")] = 300.0
    """give up when the graph does not start in time"""

    def check(self) -> None:
        """Raises ValueError for what cannot be played; the message names the option."""
        for name, low in (("episodes", 1), ("first_layout", 0), ("hold", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"--{name.replace('_', '-')} must be at least {low}, not {getattr(self, name)}")
        one_task(self.task, self.variant, self.first_layout, self.episodes)

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
            # Nodes may be started in another folder.
            "records": str((self.out / "episodes").resolve()),
            **({"config": self.config} if self.config else {}),
            **({"record": str(Path(self.record).resolve())} if self.record else {}),
        }
        return [f"{name}:={value}" for name, value in values.items()]

    def runner_arguments(self, command: str = "") -> list[str]:
        """Parameters for the episode_runner node, as its command line takes them.

        Args:
            command: the command that started all this, kept with the results.
        """
        same = ("task", "variant", "episodes", "first_layout", "clock", "policy", "arm", "teleop", "control", "out")
        values = {
            **{name: str(getattr(self, name)) for name in same},
            "success_hold_steps": str(self.hold),
            "videos": str(self.videos).lower(),
            "step_timeout_s": repr(self.step_timeout_s),
            "start_timeout_s": repr(self.start_timeout_s),
            # As YAML has it: a command may hold anything.
            **({"command": json.dumps(command)} if command else {}),
        }
        parameters = [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]
        return ["--ros-args", *parameters]


def parse(arguments: Sequence[str] | None = None) -> DemoOptions:
    """Reads the command line; ends the program with a message when it is wrong."""
    options = tyro.cli(
        DemoOptions,
        prog="./run demo",
        description="Plays episodes of a simulated task through the robot graph: camera, policy, controller, arm.",
        args=arguments,
    )
    try:
        options.check()
    except ValueError as error:
        print(f"./run demo: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    return options


def keep_logs_with_results(out: Path) -> None:
    """Gives ROS a folder for its logs where the home, in which it would keep them, cannot be written."""
    if os.environ.get("ROS_LOG_DIR") or os.environ.get("ROS_HOME"):
        return
    try:
        check_folder(Path("~/.ros/log").expanduser(), "ROS_LOG_DIR")
    except (ConfigError, RuntimeError):  # not to be written, or no home at all
        os.environ["ROS_LOG_DIR"] = str((out / "log").resolve())


def play(options: DemoOptions) -> int:
    """Runs the demo; exit status: 0 when the graph did its work, whatever the success rate.

    Raises:
        ConfigError: there is no such policy, or `out` cannot be written; nothing was started.
    """
    if options.policy != "none":
        try:
            PolicyChoice(options.policy)
        except ValueError as error:
            raise ConfigError(f"--policy: {error}") from error
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

    arguments = options.runner_arguments("./run demo " + shlex.join(sys.argv[1:]))
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    runner = EpisodeRunner()
    print(
        f"{options.episodes} episodes of {options.task} ({options.variant}, {options.clock}), arm {options.arm}, "
        f"policy {options.policy}"
        + (f" ({options.control})" if options.control != "none" else "")
        + f"\nstarting the robot graph in ROS domain {domain} (its output: {options.out / 'launch.log'}) …",
        flush=True,
    )
    graph = LaunchedGraph(options.launch_arguments(), options.out / "launch.log")
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        print(text, flush=True)

    try:
        runner.watch_over(graph.ended)
        status = run(runner, say)
    finally:
        # A second Ctrl-C must not leave nodes behind.
        previous = {number: signal.signal(number, signal.SIG_IGN) for number in INTERRUPTS}
        graph.end()
        for number, handler in previous.items():
            signal.signal(number, handler)
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
    heed_interrupts()
    try:
        raise SystemExit(play(parse()))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ConfigError, OSError) as error:
        print(f"error: {explained(error)}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
