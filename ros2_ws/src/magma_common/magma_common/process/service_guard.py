"""A wrong request is refused; it does not end the node."""

from __future__ import annotations

import functools
from typing import Any

from rclpy.node import Node


def refuse_wrong_requests(node: Node) -> None:
    """Guards all services that a node has: what a callback raises is logged, and the answer is the empty one.

    rclpy lets it end the executor, and with that the node: a transition that a lifecycle node does not have in its
    present state, or a parameter of a type that does not exist, would stop a controller in mid-motion. `success` of an
    answer is false unless the callback set it.
    """
    for service in node.services:
        service.callback = _guarded(node, service)


def _guarded(node: Node, service: Any) -> Any:
    answer = service.callback

    @functools.wraps(answer)
    def guarded(request: Any, response: Any) -> Any:
        try:
            return answer(request, response)
        except Exception as error:  # whatever it was, the others go on
            node.get_logger().error(f"a request of {service.srv_name} is refused: {type(error).__name__}: {error}")
            return service.srv_type.Response()

    return guarded
