"""Node grounding: a model that points, as services. It commands nothing: instructions are asked for like anybody's."""

from __future__ import annotations

import importlib
import threading
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from magma_interfaces.srv import Confirm, Describe, Ground, Instruct, Refer
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from visualization_msgs.msg import ImageMarker

from magma_common.conversions import image_from_msg, image_to_msg, ns_to_stamp, stamp_to_ns, state_from_msg
from magma_common.diagnostics import ERROR, OK, DiagnosticsPublisher, Report
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.instruction_topics import ASK_SERVICE
from magma_common.message_sizes import SMALL
from magma_common.process.node_main import end_process, run_node
from magma_common.qos import FRAME, ROBOT_STATE, STATE
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_contracts.grounding import Entity, Grounding, NamedPlace, Pointer, Which, text_problem
from magma_contracts.text import printable, sentence
from magma_grounding_ros.answers import detections, image_marker, marks_of, named_place, phrase_boxes
from magma_grounding_ros.desk import Desk, DeskSettings, RefusedError, checked_place
from magma_grounding_ros.frame_history import Frame
from magma_grounding_ros.model_thread import BusyError, CannotLoadError, LateError, ModelThread
from magma_grounding_ros.models import is_gone, loader
from magma_grounding_ros.scene_change import SceneTolerance

THREADS = 4
"""One hears frames, one waits for the model, one is for whoever is refused meanwhile, one for the keeper's answer."""
MOST_PHRASES = 16
MOST_PLACES = 2
KEEPER_S = 5.0
WHICH: tuple[Which, ...] = typing.get_args(Which)
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class GroundingConfig(NodeConfig):
    """Parameters of the node."""

    model: str = parameter(
        "kosmos2:kosmos-tiny",
        "Which model points: kosmos2: and the folder or name of a checkpoint, or ws://host:port of a magma-serve that "
        "serves one.",
        read_only=True,
    )
    device: str = parameter(
        "auto",
        "Where a checkpoint runs; auto = the GPU when there is one.",
        choices=("auto", "cuda", "cpu"),
        read_only=True,
    )
    threads: int = parameter(
        1,
        "CPU threads of a checkpoint; 0 = torch's own choice. The policy needs some too.",
        minimum=0,
        maximum=256,
        read_only=True,
    )
    server_token_file: str = parameter(
        "", "With a server: file with its token; empty = environment variable MAGMA_SERVE_TOKEN.", read_only=True
    )
    deadline_s: float = parameter(10.0, "Seconds in which a question must be answered.", minimum=0.01, maximum=600.0)
    load_deadline_s: float = parameter(
        120.0,
        "Seconds that the first question may wait longer, for the model is loaded then.",
        minimum=0.0,
        maximum=3600.0,
        read_only=True,
    )
    history_mib: int = parameter(
        64, "Memory for the frames that questions may be about, in MiB.", minimum=1, maximum=16384, read_only=True
    )
    max_frame_age_s: float = parameter(
        2.0,
        "Answer nothing while the newest frame is older, in seconds; 0 = any age (a simulated world that waits).",
        minimum=0.0,
        read_only=True,
    )
    proposal_valid_s: float = parameter(
        60.0, "So many seconds a proposed instruction can be confirmed.", minimum=1.0, maximum=3600.0, read_only=True
    )
    scene_colour: float = parameter(
        10.0,
        "By how much a cell (of 32 x 32) of the picture may change its colour, of 255, until it counts as changed.",
        minimum=0.0,
        maximum=255.0,
        read_only=True,
    )
    scene_cells: float = parameter(
        0.003,
        "Share of the picture's cells that may change between a frame and the answer about it.",
        minimum=0.0,
        maximum=1.0,
        read_only=True,
    )
    scene_arm_m: float = parameter(
        0.01,
        "How far the arm may move between a frame and the answer about it, in metres.",
        minimum=0.0,
        read_only=True,
    )
    scene_arm_rad: float = parameter(0.05, "How far it may turn, in radians.", minimum=0.0, read_only=True)

    def desk_settings(self) -> DeskSettings:
        """The part that the desk uses."""
        tolerance = SceneTolerance(self.scene_colour, self.scene_cells, self.scene_arm_m, self.scene_arm_rad)
        return DeskSettings(self.history_mib << 20, self.max_frame_age_s, self.proposal_valid_s, tolerance)


class GroundingNode(Node):
    """Serves magma/ground, magma/refer, magma/confirm and magma/describe about frames of magma/frame.

    Requests wait in threads of the executor's own for the one in which the model works; frames go on coming in.
    """

    def __init__(self) -> None:
        super().__init__("grounding", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, GroundingConfig)
        config = self._node_parameters.config
        self._desk = Desk(config.desk_settings())
        load = loader(config.model, config.device, config.threads, config.server_token_file, config.deadline_s)
        self._model: ModelThread[Pointer] = ModelThread(load, config.load_deadline_s, is_gone)
        self._missing: set[str] = set()
        self._marker = self.create_publisher(ImageMarker, "magma/image_marker", STATE)
        self._marked = self.create_publisher(Image, "magma/marked_frame", STATE)
        self._vision: Any = self._optional("vision_msgs.msg", "ros-$ROS_DISTRO-vision-msgs", "magma/detections")
        self._detections = (
            self.create_publisher(self._vision.Detection2DArray, "magma/detections", STATE) if self._vision else None
        )
        self._status = Report(OK, f"{config.model} is loaded when it is asked for the first time")
        self._counts = {"answered": 0, "refused": 0}
        self._diagnostics = DiagnosticsPublisher(self, self._report)
        self.create_subscription(Image, "magma/frame", self._on_frame, FRAME)
        arm = "magma/end_effector_state"
        ForeignSubscription(self, EndEffectorStateMsg, arm, self._on_state, ROBOT_STATE, most_bytes=SMALL)
        together = ReentrantCallbackGroup()
        self._instruct = self.create_client(Instruct, ASK_SERVICE, callback_group=together)
        self.create_service(Ground, "magma/ground", self._on_ground, callback_group=together)
        self.create_service(Refer, "magma/refer", self._on_refer, callback_group=together)
        self.create_service(Confirm, "magma/confirm", self._on_confirm, callback_group=together)
        self.create_service(Describe, "magma/describe", self._on_describe, callback_group=together)

    def close(self) -> None:
        """Nothing is asked any more."""
        self._model.close()

    # What the robot tells.

    def _on_frame(self, message: Image) -> None:
        try:
            # A copy: the message's memory belongs to the middleware.
            pixels = image_from_msg(message).copy()
        except ValueError as error:
            self.get_logger().warning(f"a frame that cannot be read: {error}", throttle_duration_sec=5.0)
            return
        self._desk.add_frame(Frame(stamp_to_ns(message.header.stamp), pixels, message.header.frame_id))

    def _on_state(self, message: EndEffectorStateMsg) -> None:
        self._desk.add_state(state_from_msg(message))

    # What people ask.

    def _on_ground(self, request: Ground.Request, response: Ground.Response) -> Ground.Response:
        def work() -> None:
            phrases = [_text(phrase, "phrase") for phrase in request.phrases]
            if not 1 <= len(phrases) <= MOST_PHRASES:
                raise RefusedError(f"{len(phrases)} phrases were given; give from 1 to {MOST_PHRASES}")
            which = next((one for one in WHICH if one == (request.which or "one")), None)
            if which is None:
                raise RefusedError(f"which is one of {', '.join(WHICH)}, not {printable(request.which, 60)!r}")
            frame, found = self._asked(request.stamp, lambda model, pixels: model.ground(pixels, phrases, which))
            response.found = [phrase_boxes(one) for one in found]
            response.stamp = ns_to_stamp(frame.stamp_ns)
            self._show(found, frame)

        return self._answer(work, response)

    def _on_refer(self, request: Refer.Request, response: Refer.Response) -> Refer.Response:
        def work() -> None:
            places = [checked_place(box.x1, box.y1, box.x2, box.y2) for box in request.places]
            if not 1 <= len(places) <= MOST_PLACES:
                raise RefusedError(f"{len(places)} places were given; give one, or what to take and where to put it")

            def question(model: Pointer, pixels: np.ndarray) -> list[NamedPlace]:
                return [model.name(pixels, place) for place in places]

            self._desk.forget_proposal()
            frame, named = self._asked(request.stamp, question)
            if len(named) == 2 and named[0].phrase == named[1].phrase:
                raise RefusedError(
                    f"both places are {named[0].phrase!r}; click on what to take, then on where to put it"
                )
            response.named = [named_place(one) for one in named]
            response.stamp = ns_to_stamp(frame.stamp_ns)
            if len(named) == 2:
                proposal = self._desk.propose(frame, named[0].phrase, named[1].phrase, self._now_ns())
                response.instruction, response.proposal = proposal.instruction, proposal.number
            self._show(named, frame)

        return self._answer(work, response)

    def _on_describe(self, request: Describe.Request, response: Describe.Response) -> Describe.Response:
        def work() -> None:
            question = _text(request.question, "question") if request.question else ""

            def ask(model: Pointer, pixels: np.ndarray) -> Any:
                return model.answer(pixels, question) if question else model.describe(pixels, detailed=request.detailed)

            frame, found = self._asked(request.stamp, ask)
            response.text = found.text
            response.entities = [phrase_boxes(one) for one in found.entities]
            response.starts = [one.span[0] for one in found.entities]
            response.ends = [one.span[1] for one in found.entities]
            response.stamp = ns_to_stamp(frame.stamp_ns)
            self._show(found.entities, frame)

        return self._answer(work, response)

    def _on_confirm(self, request: Confirm.Request, response: Confirm.Response) -> Confirm.Response:
        try:
            proposal = self._desk.confirm(int(request.proposal), self._now_ns())
            who = printable(request.asked_by, 100) or "somebody who called magma/confirm"
            asked = Instruct.Request(instruction=proposal.instruction, asked_by=f"two clicks, confirmed by {who}")
            asked.asked = ns_to_stamp(self._now_ns())
            answer = self._ask_keeper(asked)
        except ValueError as error:
            response.message = sentence(str(error))
            self._refused(response.message)
            return response
        response.accepted, response.message, response.number = answer.accepted, answer.message, answer.number
        return response

    def _ask_keeper(self, request: Instruct.Request) -> Instruct.Response:
        name = self.resolve_service_name(ASK_SERVICE)
        if not self._instruct.wait_for_service(KEEPER_S):
            raise RefusedError(f"there is no instruction keeper ({name}), so nothing was asked for")
        future, answered = self._instruct.call_async(request), threading.Event()
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(KEEPER_S):
            self._instruct.remove_pending_request(future)
            raise RefusedError(f"no answer of {name} for {KEEPER_S:g} s; look at what is in force before asking again")
        return future.result()

    def _asked(self, stamp: Any, question: Callable[[Pointer, np.ndarray], AnswerT]) -> tuple[Frame, AnswerT]:
        """A frame and what the model says about it, if the scene is still as the frame shows it."""
        frame = self._desk.frame(stamp_to_ns(stamp), self._now_ns())
        deadline_s = self._node_parameters.config.deadline_s
        found = self._model.ask(lambda model: question(model, frame.pixels), deadline_s)
        self._desk.require_unchanged(frame, self._now_ns())
        return frame, found

    def _answer(self, work: Callable[[], None], response: Any) -> Any:
        """The response once `work` has filled it, or an empty one with the reason."""
        try:
            work()
        except (BusyError, LateError, ValueError) as error:  # what is asked, or when; the model is as it was
            told = sentence(str(error))
            self._refused(told)
        except CannotLoadError as error:
            told = sentence(str(error))
            self._refused(told)
            self._state(Report(ERROR, told))
        except Exception as error:  # whatever a model raises: who asked is told, and the node lives on
            told = sentence(f"the model failed: {type(error).__name__}: {error}")
            self._refused(told)
            self._state(Report(ERROR, told))
        else:
            self._counts["answered"] += 1
            response.success = True
            self._state(Report(OK, f"{self._node_parameters.config.model} answers"))
            return response
        return type(response)(message=told)

    def _refused(self, why: str) -> None:
        self._counts["refused"] += 1
        self.get_logger().warning(f"refused: {why}")

    # What is shown.

    def _show(self, found: Sequence[Grounding | Entity | NamedPlace], frame: Frame) -> None:
        marks = marks_of(found, frame)
        if self._detections is not None:
            self._detections.publish(detections(self._vision, marks, frame))
        self._marker.publish(image_marker(marks, frame))
        drawing: Any = self._optional("magma_policy.marks.drawing", "./policy", "magma/marked_frame")
        if drawing is not None:
            boxes = np.array([mark.box for mark in marks]).reshape(-1, 4)
            marked = drawing.draw_box_marks(frame.pixels, boxes)
            self._marked.publish(image_to_msg(marked, frame.stamp_ns, frame.frame_id))

    def _optional(self, module: str, package: str, topic: str) -> Any:
        """A module that only one topic needs; None where it is missing."""
        try:
            return importlib.import_module(module)
        except ImportError as error:
            if module not in self._missing:
                self._missing.add(module)
                name = self.resolve_topic_name(topic)
                self.get_logger().warning(f"{name} is not published: {error}; install {package}")
            return None

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _state(self, report: Report) -> None:
        self._status = report
        self._diagnostics.update()

    def _report(self) -> Report:
        values: dict[str, object] = {"model": self._node_parameters.config.model, **self._counts}
        if self._model.model is not None:
            values["content"] = self._model.model.identity
        return Report(self._status.level, self._status.message, values)


def _text(text: str, what: str) -> str:
    problem = text_problem(text, what)
    if problem is not None:
        raise RefusedError(problem)
    return text


def main() -> None:
    """Entry point; ends the process without waiting for a model that works."""
    end_process(run_node(GroundingNode, make_executor=lambda: MultiThreadedExecutor(THREADS)))


if __name__ == "__main__":
    main()
