"""Program click: two places of the live picture become an instruction, once a person has said yes in the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from magma_interfaces.msg import PictureBox
from magma_interfaces.srv import Confirm, Refer
from rclpy.node import Node
from sensor_msgs.msg import Image

from magma_common.conversions import image_from_msg, ns_to_stamp, stamp_to_ns
from magma_common.process.node_main import end_process, run_node
from magma_common.qos import FRAME
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import check_file
from magma_contracts.geometry.boxes import in_fractions
from magma_contracts.text import brief, printable
from magma_grounding_ros.clicking import is_yes, read_place, shown, zoom_of
from magma_grounding_ros.desk import RefusedError
from magma_grounding_ros.frame_history import Frame

WINDOW = "click on what to take, then on where to put it (Esc ends)"
ESCAPE = 27
FOUND_S = 10.0
ANSWER_S = 150.0
"""A question waits so long: the first one also for the model to be loaded."""


@dataclass(frozen=True)
class ClickConfig(NodeConfig):
    """Parameters of the program."""

    picture: str = parameter(
        "",
        "PNG file to show the picture in, and places are typed; empty = a window to click in, or click.png in this "
        "folder where there is no display.",
        read_only=True,
    )

    def check(self) -> None:
        if self.picture and Path(self.picture).suffix.lower() != ".png":
            raise ConfigError(f"parameter picture must end in .png, got {brief(self.picture)}")

    def file(self) -> Path | None:
        """Where the picture is shown; None = in a window."""
        if self.picture:
            return Path(self.picture)
        display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        return None if display else Path("click.png")


class ClickNode(Node):
    """Hears frames and asks the grounding node; the dialogue with the person has a thread of its own."""

    def __init__(self) -> None:
        super().__init__("click", automatically_declare_parameters_from_overrides=True)
        self._file = NodeParameters(self, ClickConfig).config.file()
        if self._file is not None:
            check_file(self._file, "parameter picture")
        self._frame: Frame | None = None
        self._came = threading.Event()
        self._refer = self.create_client(Refer, "magma/refer")
        self._confirm = self.create_client(Confirm, "magma/confirm")
        self.create_subscription(Image, "magma/frame", self._on_frame, FRAME)
        self._dialogue = threading.Thread(target=self._talk, name="dialogue", daemon=True)
        # Once the node spins: an end that comes sooner would find no executor to stop.
        self._starter = self.create_timer(0.001, self._start)

    def _start(self) -> None:
        self.destroy_timer(self._starter)
        self._dialogue.start()

    def _on_frame(self, message: Image) -> None:
        with contextlib.suppress(ValueError):
            self._frame = Frame(stamp_to_ns(message.header.stamp), image_from_msg(message).copy())
            self._came.set()

    # The dialogue's thread.

    def _talk(self) -> None:
        try:
            if not self._came.wait(FOUND_S):
                raise RefusedError(f"no frame on {self.resolve_topic_name('magma/frame')}; is the robot running?")
            while self._one_instruction():
                pass
        except RefusedError as error:
            print(f"click: {error}", file=sys.stderr)
        except EOFError:
            print()
        finally:
            # As Ctrl-C: the one way in which a node ends.
            os.kill(os.getpid(), 2)

    def _one_instruction(self) -> bool:
        """Asks for two places and proposes what they mean; False when the person has had enough."""
        frame = self._frame
        if frame is None:
            return False
        try:
            places = self._typed_places(frame) if self._file is not None else self._clicked_places()
            if places is None:
                return False
            frame, two = places
            request = Refer.Request(stamp=ns_to_stamp(frame.stamp_ns))
            request.places = [PictureBox(x1=x1, y1=y1, x2=x2, y2=y2) for x1, y1, x2, y2 in (map(float, p) for p in two)]
            answer = self._ask(self._refer, request)
            if not answer.success:
                raise RefusedError(answer.message)
            names = [one.phrase for one in answer.named]
            boxes = [np.array([one.box.x1, one.box.y1, one.box.x2, one.box.y2]) for one in answer.named]
            self._show(shown(frame.pixels, boxes, names))
            if not is_yes(input(f"{printable(answer.instruction)}? (yes/no) ")):
                print("nothing was asked for")
                return True
            done = self._ask(self._confirm, Confirm.Request(proposal=answer.proposal, asked_by=self.get_name()))
            if not done.accepted:
                raise RefusedError(done.message)
            print(f"instruction {done.number} is in force: {printable(answer.instruction)}")
        except RefusedError as error:
            print(f"nothing was asked for: {error}", file=sys.stderr)
        return True

    def _typed_places(self, frame: Frame) -> tuple[Frame, list[np.ndarray]] | None:
        """Two places, typed as pixels of the picture in the file."""
        zoom = zoom_of(frame.pixels)
        height, width = frame.pixels.shape[0] * zoom, frame.pixels.shape[1] * zoom
        self._show(shown(frame.pixels, [], []))
        print(f"{self._file}: {width} x {height} pixels; a place is x,y or x1,y1,x2,y2 there, nothing ends")
        places: list[np.ndarray] = []
        for what in ("what to take: ", "where to put it: "):
            text = input(what).strip()
            if not text:
                return None
            places.append(read_place(text, width, height))
            self._show(shown(frame.pixels, places, []))
        return frame, places

    def _clicked_places(self) -> tuple[Frame, list[np.ndarray]] | None:
        """Two clicks into the live picture in a window; what was clicked on is the picture of the second."""
        places: list[np.ndarray] = []
        size = [1, 1]

        def on_mouse(event: int, x: int, y: int, *_: Any) -> None:
            if event == cv2.EVENT_LBUTTONDOWN and len(places) < 2:
                places.append(in_fractions(np.array([x, y, x, y]), size[0], size[1]).clip(0.0, 1.0))

        # Without the toolbar: only the picture is clicked on.
        cv2.namedWindow(WINDOW, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
        cv2.setMouseCallback(WINDOW, on_mouse)
        frame = self._frame
        while frame is not None and len(places) < 2:
            frame = self._frame or frame
            picture = shown(frame.pixels, places, [])
            size[:] = picture.shape[1], picture.shape[0]
            cv2.imshow(WINDOW, picture[..., ::-1])
            closed = cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) < 1
            if closed or cv2.waitKey(30) == ESCAPE:
                return None
        return (frame, places) if frame is not None else None

    def _show(self, picture: np.ndarray) -> None:
        if self._file is None:
            cv2.imshow(WINDOW, picture[..., ::-1])
            cv2.waitKey(30)
        elif not cv2.imwrite(str(self._file), picture[..., ::-1]):
            raise RefusedError(f"{self._file}: the picture cannot be written")

    def _ask(self, client: Any, request: Any) -> Any:
        if not client.wait_for_service(FOUND_S):
            name = self.resolve_service_name(client.srv_name)
            raise RefusedError(f"there is no service {name}; start the robot with grounding:=kosmos2:FOLDER")
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(ANSWER_S):
            client.remove_pending_request(future)
            raise RefusedError(f"no answer of {client.srv_name} for {ANSWER_S:g} s")
        return future.result()


def main() -> None:
    """Entry point."""
    end_process(run_node(ClickNode))


if __name__ == "__main__":
    main()
