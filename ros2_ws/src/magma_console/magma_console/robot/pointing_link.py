"""The way from the pages to the model that points, in whichever node it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magma_interfaces.srv import Confirm, Describe, Ground, Refer
from rclpy.node import Node
from rclpy.task import Future

from magma_console.robot.pointing import CONFIRM, DESCRIBE, GROUND, REFER, answer_of

SERVICES: dict[str, Any] = {REFER: Refer, GROUND: Ground, DESCRIBE: Describe, CONFIRM: Confirm}


class PointingLink:
    """Calls the services magma/refer, ground, describe and confirm. Any thread may call anything."""

    def __init__(self, node: Node) -> None:
        self._clients = {name: node.create_client(kind, f"magma/{name}") for name, kind in SERVICES.items()}

    def ask(self, name: str, request: Any, answer: Callable[[dict[str, Any]], None]) -> None:
        """Asks one of SERVICES; `answer` is told what the page is told, from any thread."""
        client = self._clients[name]
        if not client.service_is_ready():
            answer({"ok": False, "text": "nothing here points: start the robot with grounding:=kosmos2:FOLDER"})
            return

        def done(future: Future) -> None:
            result = future.result()
            answer(answer_of(result) if result is not None else {"ok": False, "text": "no answer"})

        client.call_async(request).add_done_callback(done)
