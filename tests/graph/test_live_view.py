"""The live page shows what goes on, to this machine only, and can do nothing."""

from __future__ import annotations

import http.client
import json
import re

import cv2
import numpy as np
from magma_interfaces.msg import ControllerState
from sensor_msgs.msg import Image

from magma_common import qos
from magma_common.conversions import image_to_msg


def request(port, path, method="GET", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60.0)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    return connection.getresponse()


def test_the_page_shows_picture_and_state_to_this_machine_only(start_node, peer, wait):
    node = start_node("magma_bringup.live_view", {"port": 0})
    node.wait_for_output("look at http://127.0.0.1:")
    port = int(re.search(r"127\.0\.0\.1:(\d+)", node.output)[1])
    states = peer.publisher(ControllerState, "/magma/controller_state", qos.STATE)
    pictures = peer.publisher(Image, "/camera/image_raw", qos.SENSOR)
    states.publish(ControllerState(phase=ControllerState.ESTOP, reason="pressed <b>", instruction="go"))
    state = wait(
        lambda: (s := json.loads(request(port, "/state").read()))["phase"] == "ESTOP" and s, "the controller's state"
    )
    assert state == {"phase": "ESTOP", "reason": "pressed <b>", "instruction": "go"}
    assert b"innerHTML" not in request(port, "/").read(), "texts from the graph are never HTML"

    stream = request(port, "/pictures")
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :32] = (255, 0, 0)
    for _ in range(5):
        pictures.publish(image_to_msg(pixels, peer.now_ns(), "camera_optical"))
    assert stream.readline() == b"--picture\r\n"
    size = int([stream.readline() for _ in range(3)][1].split(b":")[1])
    shown = cv2.imdecode(np.frombuffer(stream.read(size), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (48, 64, 3) and shown[10, 10, 2] > 200 > 60 > shown[10, 50].max()
    stream.close()

    assert request(port, "/state", host="evil.example:80").status == 403
    assert request(port, "/nothing").status == 404
    for method in ("POST", "PUT", "DELETE"):
        assert request(port, "/state", method).status == 501
    assert node.stop() == 0


def test_a_port_that_is_taken_ends_the_node_with_the_reason(start_node):
    first = start_node("magma_bringup.live_view", {"port": 0})
    first.wait_for_output("look at http://127.0.0.1:")
    port = int(re.search(r"127\.0\.0\.1:(\d+)", first.output)[1])
    second = start_node("magma_bringup.live_view", {"port": port})
    assert second.wait() == 2
    assert f"port {port} cannot be used" in second.output and "Traceback" not in second.output
