"""camera_subscriber and camera_source as processes, fed with what drivers send."""

from __future__ import annotations

import array
import itertools
import time

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from sensor_msgs.msg import CompressedImage, Image

from magma_common import qos
from magma_common.conversions import action_spec_to_msg, image_from_msg, ns_to_stamp, stamp_to_ns, state_to_msg
from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import EndEffectorState

SUBSCRIBER = "magma_camera.camera_subscriber"
SOURCE = "magma_camera.camera_source"


def spec(side):
    return ActionSpec("test", 1, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", side, side, True)


def picture(value, height=48, width=64):
    return np.random.default_rng(value).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_bgr_message(rgb, stamp_ns):
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(rgb[:, :, ::-1]).tobytes())
    height, width = rgb.shape[:2]
    message = Image(height=height, width=width, encoding="bgr8", step=3 * width, data=data)
    message.header.stamp = ns_to_stamp(stamp_ns)
    message.header.frame_id = "lens"
    return message


def status_of(array_message, name):
    return next((status for status in array_message.status if status.name == name), None)


class Camera:
    """A driver, and the node that listens to it."""

    def __init__(self, start_node, peer, **parameters):
        self.node = start_node(SUBSCRIBER, parameters)
        self.peer = peer
        self.diagnostics = peer.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self.images = peer.publisher(Image, "/camera/image_raw", qos.SENSOR)
        self.frames = peer.collect(Image, "/magma/frame", qos.FRAME)
        self.spec = peer.publisher(ActionSpecMsg, "/magma/action_spec", qos.STATE)

    def announce(self, side):
        self.spec.publish(action_spec_to_msg(spec(side)))

    def send(self, rgb, stamp_ns=None):
        stamp_ns = self.peer.now_ns() if stamp_ns is None else stamp_ns
        self.images.publish(as_bgr_message(rgb, stamp_ns))
        return stamp_ns

    def wait_for_report(self, text, level=DiagnosticStatus.ERROR):
        def fits(message):
            status = status_of(message, "camera_subscriber")
            return status is not None and status.level == level and text in status.message

        return status_of(self.diagnostics.wait_for(fits), "camera_subscriber")

    def send_until_reported(self, send, text):
        """Shows something again and again, as a camera does, until the node says what is wrong with it."""
        self.diagnostics.clear()

        def reported(_):
            time.sleep(0.01)
            statuses = [status_of(message, "camera_subscriber") for message in self.diagnostics.messages]
            return any(status is not None and text in status.message for status in statuses) or pytest.fail(text)

        self.peer.send_until(send, reported, attempts=6000)

    def send_until_forwarded(self, first):
        """Frames are best effort: the next one replaces a lost one."""
        values = itertools.count(first)

        def send():
            rgb = picture(next(values))
            return rgb, self.send(rgb)

        def forwarded(sent):
            rgb, stamp_ns = sent
            return rgb, self.frames.wait_for(lambda m: stamp_to_ns(m.header.stamp) == stamp_ns, timeout_s=0.5)

        return self.peer.send_until(send, forwarded, attempts=50)


@pytest.fixture
def camera(start_node, peer):
    return Camera(start_node, peer)


def test_frame_has_the_policys_size_and_the_capture_stamp(camera):
    camera.send(picture(0))
    camera.wait_for_report("waiting for a policy", DiagnosticStatus.WARN)
    camera.announce(16)
    rgb, frame = camera.send_until_forwarded(1)
    assert (frame.encoding, frame.height, frame.width, frame.header.frame_id) == ("rgb8", 16, 16, "lens")
    np.testing.assert_array_equal(image_from_msg(frame), cv2.resize(rgb, (16, 16), interpolation=cv2.INTER_AREA))
    camera.announce(24)
    camera.frames.clear()
    values = itertools.count(100)
    camera.peer.send_until(
        lambda: camera.send(picture(next(values))),
        lambda _: camera.frames.wait_for(lambda message: message.height == 24, timeout_s=0.5),
        attempts=50,
    )


def test_nonsense_is_refused_and_good_pictures_go_on(camera):
    camera.announce(16)
    camera.send_until_forwarded(1)
    camera.frames.clear()
    values = itertools.count()

    def send_broken():
        broken = as_bgr_message(picture(next(values)), camera.peer.now_ns())
        broken.height = 0
        camera.images.publish(broken)

    camera.send_until_reported(send_broken, "pictures are refused (empty)")
    wrong_length = as_bgr_message(picture(9), camera.peer.now_ns())
    wrong_length.height = 1000
    camera.images.publish(wrong_length)
    assert not camera.frames.messages
    camera.diagnostics.clear()
    camera.send_until_forwarded(200)
    assert camera.node.running
    report = camera.wait_for_report("forwarding", DiagnosticStatus.OK)
    assert int({item.key: item.value for item in report.values}["refused empty"]) >= 1


def test_frozen_camera_stops_the_frames_until_it_recovers(start_node, peer):
    camera = Camera(start_node, peer, frozen_after_s=0.3)
    camera.announce(16)
    camera.send_until_forwarded(1)
    still = picture(3)
    camera.send_until_reported(lambda: camera.send(still), "pictures are refused (frozen)")
    camera.frames.clear()
    camera.send(still)
    camera.send_until_forwarded(300)
    camera.wait_for_report("forwarding", DiagnosticStatus.OK)


def test_camera_that_does_not_see_the_arm_move_is_frozen(start_node, peer):
    camera = Camera(start_node, peer, frozen_after_s=0.0)
    arm = peer.publisher(EndEffectorStateMsg, "/magma/end_effector_state", qos.ROBOT_STATE)
    camera.announce(16)
    camera.send_until_forwarded(1)
    still, down = picture(3), np.array([1.0, 0.0, 0.0, 0.0])
    steps = itertools.count()

    def move():
        position = np.array([0.4 + 0.005 * (next(steps) % 100), 0.0, 0.2])
        arm.publish(state_to_msg(EndEffectorState(peer.now_ns(), position, down, position, down, 1.0, 1.0)))
        camera.send(still)

    camera.send_until_reported(move, "pictures are refused (frozen)")
    camera.send_until_forwarded(300)


def test_compressed_pictures(start_node, peer):
    start_node(SUBSCRIBER, {"compressed": True, "image_height": 16, "image_width": 16})
    images = peer.publisher(CompressedImage, "/camera/image_raw/compressed", qos.SENSOR)
    frames = peer.collect(Image, "/magma/frame", qos.FRAME)
    rgb = picture(5, 16, 16)
    png = cv2.imencode(".png", rgb[:, :, ::-1])[1]

    def send():
        message = CompressedImage(format="rgb8; png compressed bgr8", data=array.array("B", png.tobytes()))
        message.header.stamp = ns_to_stamp(peer.now_ns())
        images.publish(message)

    frame = peer.send_until(send, lambda _: frames.wait_for(timeout_s=0.5), attempts=50)
    np.testing.assert_array_equal(image_from_msg(frame), rgb)


def test_video_file_as_a_camera(start_node, peer, tmp_path):
    path = tmp_path / "clip.avi"
    node = start_node(SOURCE, {"device": str(path), "fps": 50.0, "retry_s": 0.1})
    diagnostics = peer.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    images = peer.collect(Image, "/camera/image_raw", qos.SENSOR)
    missing = diagnostics.wait_for(lambda message: status_of(message, "camera_source").level == DiagnosticStatus.ERROR)
    assert "does not exist" in status_of(missing, "camera_source").message
    writer = cv2.VideoWriter(str(tmp_path / "made.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for level in (0, 80, 160):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    (tmp_path / "made.avi").rename(path)
    images.wait_for(lambda _: len(images.messages) >= 5)
    stamps = [stamp_to_ns(message.header.stamp) for message in images.messages]
    assert stamps == sorted(set(stamps)) and abs(stamps[-1] - peer.now_ns()) < 5_000_000_000
    first = images.messages[0]
    assert (first.encoding, first.height, first.width, first.step) == ("bgr8", 48, 64, 192)
    assert node.running


@pytest.mark.parametrize("module", [SUBSCRIBER, "magma_control.controller_node"])
def test_simulated_time_without_a_clock_is_said(start_node, peer, module):
    node = start_node(module, {"use_sim_time": True})
    node.wait_for_output("use_sim_time is set, but nothing is published on /clock")


def test_contradictory_parameters_end_the_node_with_a_message(start_node):
    node = start_node(SUBSCRIBER, {"image_height": 16})
    assert node.wait() != 0
    assert "image_width" in node.output
