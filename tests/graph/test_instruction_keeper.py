"""The instruction in force reaches everybody: from whoever says it, and to whoever comes later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from std_msgs.msg import String

from magma_common import qos

ROS2 = Path(sys.executable).with_name("ros2")


def test_an_instruction_typed_without_options_reaches_nodes_that_want_the_latest_state(start_node, peer):
    start_node("magma_bringup.instruction_keeper", {"instruction": "put the spoon on the towel"})
    heard = peer.collect(String, "/magma/instruction", qos.STATE)
    heard.wait_for(lambda message: message.data == "put the spoon on the towel")
    # As a person types it: the publisher keeps nothing for latecomers and is gone a moment later.
    said = subprocess.run(
        [ROS2, "topic", "pub", "--once", "/magma/instruction", "std_msgs/msg/String", "{data: put the carrot down}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert said.returncode == 0, said.stderr
    heard.wait_for(lambda message: message.data == "put the carrot down")
    late = peer.collect(String, "/magma/instruction", qos.STATE)
    late.wait_for(lambda message: message.data == "put the carrot down")
