"""Publishes as fast as it can, as a broken program does: `flood.py instruction` or `flood.py chunk`."""

from __future__ import annotations

import sys
import time

import numpy as np
import rclpy
from magma_interfaces.msg import ActionChunk as ActionChunkMsg
from rclpy.node import Node
from shuttle_policy import SPEC
from std_msgs.msg import String

from magma_common import qos
from magma_common.conversions import chunk_to_msg
from magma_contracts.actions import ActionChunk


def main(what: str) -> None:
    rclpy.init()
    node = Node("flood")
    if what == "instruction":
        publisher = node.create_publisher(String, "/magma/instruction", qos.STATE)
    else:
        publisher = node.create_publisher(ActionChunkMsg, "/magma/action_chunk", qos.COMMAND)
    count = 0
    while True:
        count += 1
        if what == "instruction":
            publisher.publish(String(data=f"instruction {count}"))
        else:
            deltas = np.array([[0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 1.0]])
            chunk = ActionChunk(deltas, time.time_ns(), 0.2, SPEC.policy, "", count)
            publisher.publish(chunk_to_msg(chunk))


if __name__ == "__main__":
    main(sys.argv[1])
