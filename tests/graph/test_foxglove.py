"""The live graph for the Foxglove app: channels by WebSocket whose messages decode, and no way to say anything."""

from __future__ import annotations

import json
import re
import struct

import numpy as np
import pytest
from controller_peers import Robot
from magma_interfaces.msg import ControllerState
from rclpy.serialization import deserialize_message
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from magma_common import qos

pytest.importorskip("foxglove", reason="needs foxglove-sdk: ./run setup foxglove")
client = pytest.importorskip("websockets.sync.client")

PATIENCE_S = 60.0
PROTOCOL = "foxglove.sdk.v1"
DATA = struct.Struct("<BIQ")
"""Before each message: opcode 1, number of the subscription, time in nanoseconds."""


class Viewer:
    """What the Foxglove app does."""

    def __init__(self, address):
        self.socket = client.connect(address, subprotocols=[PROTOCOL], proxy=None)
        self.about = json.loads(self.socket.recv(timeout=PATIENCE_S))
        self.channels = {}
        self.subscriptions = 0

    def channel(self, topic):
        while topic not in self.channels:
            message = self.socket.recv(timeout=PATIENCE_S)
            if isinstance(message, str) and (told := json.loads(message))["op"] == "advertise":
                self.channels.update({channel["topic"]: channel for channel in told["channels"]})
        return self.channels[topic]

    def message(self, topic, wanted):
        """The first one of a topic that `wanted` likes, as bytes."""
        channel = self.channel(topic)
        # A number of its own: what was sent before the last topic was given up still comes.
        self.subscriptions += 1
        mine = self.subscriptions
        self.socket.send(json.dumps({"op": "subscribe", "subscriptions": [{"id": mine, "channelId": channel["id"]}]}))
        while True:
            message = self.socket.recv(timeout=PATIENCE_S)
            if isinstance(message, bytes) and message[0] == 1:
                opcode, subscription, time_ns = DATA.unpack_from(message)
                assert opcode == 1 and time_ns > 0
                if subscription == mine and wanted(message[DATA.size :]):
                    self.socket.send(json.dumps({"op": "unsubscribe", "subscriptionIds": [mine]}))
                    return message[DATA.size :]


def test_a_viewer_reads_states_and_markers_and_can_say_nothing(start_node, peer, wait):
    start_node("magma_control.controller_node", {"watchdog_s": 3.0, "max_frame_age_s": 5.0})
    start_node("magma_console.marker_node")
    node = start_node("magma_recorder.foxglove_node", {"port": 0})
    node.wait_for_output("foxglove: open ws://")
    robot = Robot(peer)
    robot.policy_runs = True
    viewer = Viewer(re.search(r"ws://127\.0\.0\.1:\d+", node.output)[0])
    assert viewer.about["capabilities"] == [] and viewer.about["name"] == "Magma"
    state = viewer.channel("/magma/controller_state")
    assert (state["encoding"], state["schemaName"]) == ("cdr", "magma_interfaces/msg/ControllerState")
    assert state["schemaEncoding"] == "ros2msg" and "string reason" in state["schema"]
    assert "/magma/controller_journal" not in viewer.channels

    def acts(data):
        state = deserialize_message(data, ControllerState)
        # The chunk that it acts on may come before what is in force is told.
        return state.phase == ControllerState.AUTONOMOUS and state.instruction != ""

    viewer.message("/magma/controller_state", acts)

    def has_trace(data):
        made = {(one.ns, one.action) for one in deserialize_message(data, MarkerArray).markers}
        return made >= {(name, Marker.ADD) for name in ("trace", "target", "measured", "workspace")}

    shown = {
        one.ns: one for one in deserialize_message(viewer.message("/magma/markers", has_trace), MarkerArray).markers
    }
    begin, after = shown["trace"].points[:2]
    assert np.isclose(after.x - begin.x, robot.delta[0]) and shown["trace"].header.frame_id == "base"
    assert shown["trace"].type == Marker.LINE_STRIP and len(shown["workspace"].points) == 24

    # A viewer that wants to publish is not heard.
    heard = peer.collect(String, "/magma/instruction", qos.EVERY_STATE)
    viewer.channel("/magma/instruction")
    before = len(heard.messages)
    advert = {"id": 1, "topic": "/magma/instruction", "encoding": "cdr", "schemaName": "std_msgs/msg/String"}
    viewer.socket.send(json.dumps({"op": "advertise", "channels": [advert]}))
    viewer.socket.send(struct.pack("<BI", 1, 1) + b"\x00\x01\x00\x00\x04\x00\x00\x00run\x00")
    assert viewer.message("/magma/controller_state", lambda data: True)
    assert len(heard.messages) == before
    viewer.socket.close()
    robot.close()


def test_a_port_that_is_taken_is_said_in_a_sentence(start_node):
    first = start_node("magma_recorder.foxglove_node", {"port": 0})
    first.wait_for_output("foxglove: open ws://")
    port = int(re.search(r"ws://127\.0\.0\.1:(\d+)", first.output)[1])
    second = start_node("magma_recorder.foxglove_node", {"port": port})
    assert second.wait() == 2
    assert f"port {port} of 127.0.0.1 cannot be used" in second.output and "Traceback" not in second.output
