"""The instruction in force reaches everybody: from whoever says it, and to whoever comes later."""

from __future__ import annotations

import random
import subprocess
import sys
import time
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


def test_the_last_word_stands_however_fast_it_followed_the_one_before(start_node, peer, wait):
    # As the episode runner says between two episodes that there is no instruction, and then the next one: a keeper that
    # repeats the first after the second was said would leave everybody with the first.
    start_node("magma_bringup.instruction_keeper", {"instruction": "none"})
    publisher = peer.publisher(String, "/magma/instruction", qos.STATE, matched=2)
    heard = peer.collect(String, "/magma/instruction", qos.EVERY_STATE)
    said = "put the carrot on the plate"
    publisher.publish(String(data=said))
    wait(lambda: [m.data for m in heard.messages].count(said) > 1, "the keeper's first word")
    for number in range(60):
        said = f"put carrot {number} on the plate"
        publisher.publish(String(data=""))
        time.sleep(random.Random(number).choice((0.0, 0.0002, 0.0005, 0.001, 0.002)))
        publisher.publish(String(data=said))
        # Its own repeat of the instruction is the last thing that the keeper says.
        wait(lambda said=said: [m.data for m in heard.messages].count(said) > 1, f"the keeper to repeat {said!r}")
        assert heard.messages[-1].data == said
    late = peer.collect(String, "/magma/instruction", qos.STATE)
    late.wait_for(lambda message: message.data == said)
    time.sleep(0.5)
    assert heard.messages[-1].data == said
