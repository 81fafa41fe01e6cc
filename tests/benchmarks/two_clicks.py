"""Do two clicks do what a typed instruction does? The shipped policy through the robot graph, told both ways.

    python tests/benchmarks/two_clicks.py --grounding kosmos2:kosmos-tiny --out runs/two_clicks

In every evaluation layout the objects of two tasks stand on the table: the own pair of the episode, and another. Each
is asked for in its task's words, and by two clicks on random pixels of the visible masks of source and target,
through magma/refer and magma/confirm as a person's page or program does. The goal of the pair that was asked for is
judged at the last step, by where the objects lie, the same for all four. Episodes that were played are kept: given
again the command goes on. Prints the rates with their 95 % intervals (Wilson), and what the clicks were called; writes
OUT/episodes.jsonl.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import tyro
from magma_interfaces.msg import EpisodeStatus, PictureBox
from magma_interfaces.srv import Confirm, Instruct, Refer, ResetEpisode
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from magma_bringup.launching.launched_graph import LaunchedGraph
from magma_common import qos
from magma_common.conversions import stamp_to_ns
from magma_common.instruction_topics import ASK_SERVICE
from magma_eval.confidence_intervals import Rate
from magma_sim.backends.tabletop.layouts import EVALUATION_LAYOUTS, make_layout
from magma_sim.backends.tabletop.objects import GOALS, TASKS
from magma_sim.backends.tabletop.scene import RENDER_SIZE
from magma_sim.backends.tabletop.success import placed
from magma_sim.backends.tabletop.task import shared_scene

PAIRS, WAYS = ("own", "other"), ("typed", "clicked")
PATIENCE_S = 600.0
"""Nothing in the graph takes so long, on whatever machine."""
LOOKS = 20
"""How often a click is tried again while the world settles."""


@dataclass(frozen=True)
class Config:
    """What to play."""

    grounding: str
    """as the launch file takes it: kosmos2:FOLDER, or ws://host:port"""
    out: Path
    policy: str = "magma-tiny"
    layouts: int = EVALUATION_LAYOUTS
    """evaluation layouts of each task"""
    first_layout: int = 0
    tasks: tuple[str, ...] = TASKS
    domain: int = 59
    seed: int = 0
    """of the clicks"""


@dataclass(frozen=True)
class Played:
    """One episode: what was asked for in which way, in which words, and whether it was done at the last step."""

    task: str
    layout: int
    pair: str
    way: str
    asked: str
    instruction: str
    success: bool
    refused: str = ""
    """why the clicks made no instruction"""


def visible_masks(task: str, layout: int) -> dict[str, np.ndarray]:
    """The visible pixels (H, W) bool of every object at the start of an evaluation layout."""
    scene = shared_scene(images=True)
    scene.place(make_layout(task, "eval", layout))
    _, numbers = scene.render_entities(RENDER_SIZE)
    return {name: numbers == entity.per_scene_id for name, entity in scene.objects.items()}


def click_on(mask: np.ndarray, rng: np.random.Generator) -> PictureBox:
    """A click on a random pixel of a mask. Raises ValueError when nothing of it is seen."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise ValueError("nothing of it is seen")
    chosen = int(rng.integers(len(rows)))
    x, y = (columns[chosen] + 0.5) / mask.shape[1], (rows[chosen] + 0.5) / mask.shape[0]
    return PictureBox(x1=float(x), y1=float(y), x2=float(x), y2=float(y))


class Operator(Node):
    """Who resets the world, asks in either way, and looks at what becomes of it."""

    def __init__(self) -> None:
        super().__init__("two_clicks")
        self._changed = threading.Condition()
        self._status: EpisodeStatus | None = None
        self._poses: dict[str, Any] = {}
        self._frame_ns = 0
        self._services = {
            kind: self.create_client(kind, name)
            for kind, name in (
                (Refer, "magma/refer"),
                (Confirm, "magma/confirm"),
                (Instruct, ASK_SERVICE),
                (ResetEpisode, "magma/reset_episode"),
            )
        }
        self.create_subscription(EpisodeStatus, "magma/episode_status", self._on_status, qos.STATE)
        self.create_subscription(TFMessage, "/tf", self._on_transforms, qos.TRANSFORMS)
        self.create_subscription(Image, "magma/frame", self._on_frame, qos.FRAME)

    def _on_status(self, message: EpisodeStatus) -> None:
        with self._changed:
            self._status = message
            self._changed.notify_all()

    def _on_transforms(self, message: TFMessage) -> None:
        for item in message.transforms:
            at, turn = item.transform.translation, item.transform.rotation
            pose = np.array([at.x, at.y, at.z]), np.array([turn.x, turn.y, turn.z, turn.w])
            self._poses[item.child_frame_id] = pose

    def _on_frame(self, message: Image) -> None:
        with self._changed:
            self._frame_ns = stamp_to_ns(message.header.stamp)
            self._changed.notify_all()

    def call(self, kind: Any, request: Any) -> Any:
        """What a service answers."""
        if not self._services[kind].wait_for_service(PATIENCE_S):
            raise TimeoutError(f"there is no service {self._services[kind].srv_name}")
        future, done = self._services[kind].call_async(request), threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(PATIENCE_S):
            raise TimeoutError(f"no answer of {self._services[kind].srv_name}")
        return future.result()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until it holds of what was heard."""
        with self._changed:
            if not self._changed.wait_for(condition, PATIENCE_S):
                raise TimeoutError(f"waited {PATIENCE_S:g} s; the last status was {self._status}")

    def begin(self, task: str, layout: int) -> None:
        """The start of an evaluation layout, with nothing to do, and its first frame."""
        self.call(Instruct, Instruct.Request(instruction="", asked_by="two_clicks"))
        answer = self.call(ResetEpisode, ResetEpisode.Request(task=task, variant="eval", layout=layout))
        if not answer.success:
            raise RuntimeError(answer.message)

        def there() -> bool:
            now = self._status
            return (
                now is not None
                and (now.task, now.layout, now.step) == (task, layout, 0)
                and self._frame_ns >= stamp_to_ns(now.header.stamp)
            )

        self.wait(there)

    def type(self, instruction: str) -> str:
        """Asks in words; why it was refused, or nothing."""
        answer = self.call(Instruct, Instruct.Request(instruction=instruction, asked_by="two_clicks"))
        return answer.message

    def click(self, source: PictureBox, target: PictureBox) -> tuple[str, str]:
        """Asks by two clicks and a yes: the instruction, and why there is none."""
        for _ in range(LOOKS):
            proposed = self.call(Refer, Refer.Request(places=[source, target]))
            if "the scene is not as it was" not in proposed.message:
                break
            time.sleep(0.5)
        if not proposed.success:
            return "", proposed.message
        answer = self.call(Confirm, Confirm.Request(proposal=proposed.proposal, asked_by="two_clicks"))
        return (proposed.instruction, "") if answer.accepted else ("", answer.message)

    def finish(self, goal: str) -> bool:
        """Lets the episode run to its end; whether the goal of a task holds then."""
        self.wait(lambda: self._status is not None and self._status.done)
        time.sleep(0.2)  # the poses of the last step come beside its status
        return placed(GOALS[goal], dict(self._poses))


def play(operator: Operator, config: Config, task: str, layout: int, pair: str, way: str) -> Played:
    """One episode."""
    asked = task if pair == "own" else make_layout(task, "eval", layout).distractor_task
    goal, instruction, refused = GOALS[asked], GOALS[asked].instruction, ""
    operator.begin(task, layout)
    if way == "typed":
        refused = operator.type(instruction)
    else:
        masks = visible_masks(task, layout)
        rng = np.random.default_rng([config.seed, TASKS.index(task), layout, PAIRS.index(pair)])
        try:
            clicks = click_on(masks[goal.source], rng), click_on(masks[goal.target], rng)
            instruction, refused = operator.click(*clicks)
        except ValueError as error:
            instruction, refused = "", str(error)
    success = not refused and operator.finish(asked)
    return Played(task, layout, pair, way, asked, instruction, success, refused)


def read(path: Path) -> list[Played]:
    """The episodes that were played."""
    if not path.is_file():
        return []
    return [Played(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def report(played: list[Played]) -> str:
    """A table of rates, and how often clicks were called what."""
    lines = ["| pair | way | done | rate (95 % interval) | no instruction |", "|---|---|---|---|---|"]
    for pair in PAIRS:
        for way in WAYS:
            these = [one for one in played if (one.pair, one.way) == (pair, way)]
            if these:
                rate = Rate(sum(one.success for one in these), len(these))
                silent = sum(bool(one.refused) for one in these)
                lines.append(f"| {pair} | {way} | {rate.successes}/{rate.count} | {rate} | {silent} |")
    said: dict[str, list[bool]] = {}
    for one in played:
        if one.way == "clicked":
            said.setdefault(one.instruction or f"(nothing: {one.refused})", []).append(one.success)
    lines += ["", "What clicks were called:"]
    lines += [f"- {text}: {sum(done)}/{len(done)} done" for text, done in sorted(said.items())]
    return "\n".join(lines)


def _spin(executor: SingleThreadedExecutor) -> None:
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()


def main() -> None:
    """Entry point."""
    config = tyro.cli(Config)
    config.out.mkdir(parents=True, exist_ok=True)
    episodes = config.out / "episodes.jsonl"
    known = {(one.task, one.layout, one.pair, one.way) for one in read(episodes)}
    wanted = [
        (task, layout, pair, way)
        for layout in range(config.first_layout, config.first_layout + config.layouts)
        for task in config.tasks
        for pair in PAIRS
        for way in WAYS
        if (task, layout, pair, way) not in known
    ]
    os.environ["ROS_DOMAIN_ID"] = str(config.domain)
    arguments = [f"policy:={config.policy}", f"grounding:={config.grounding}", "instruction:=none", "device:=cpu"]
    graph = LaunchedGraph(arguments, config.out / "graph.log")
    # Ctrl-C and SIGTERM end this program, which ends the graph; rclpy's handlers would only end what it hears with.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    operator, executor = Operator(), SingleThreadedExecutor()
    executor.add_node(operator)
    threading.Thread(target=_spin, args=(executor,), daemon=True).start()
    try:
        for number, key in enumerate(wanted):
            if (why := graph.ended()) is not None:
                sys.exit(f"the graph has ended: {why}; its output is in {graph.log}")
            one = play(operator, config, *key)
            with episodes.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(one)) + "\n")
            print(f"{number + 1}/{len(wanted)} {one}", flush=True)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the graph is ended first
        graph.end()
        rclpy.try_shutdown()
    print(report(read(episodes)))


if __name__ == "__main__":
    main()
