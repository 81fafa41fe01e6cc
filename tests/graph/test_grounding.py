"""The grounding node as a real process: questions about frames, clicks, a person's yes, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from grounding_peers import ColourGrounder, scene, served
from magma_interfaces.msg import Instruction, PictureBox
from magma_interfaces.srv import Confirm, Describe, Ground, Refer
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray
from visualization_msgs.msg import ImageMarker

from magma_common import qos
from magma_common.conversions import image_from_msg, image_to_msg, ns_to_stamp, stamp_to_ns
from magma_common.instruction_topics import IN_FORCE_TOPIC

NODE, KEEPER = "magma_grounding_ros.grounding_node", "magma_bringup.instruction_keeper"
CARROT, PLATE = (20, 60, 40, 70), (80, 50, 110, 80)
SCENE = scene(orange=CARROT, white=PLATE)
MOVED = scene(orange=(60, 20, 80, 30), white=PLATE)


@pytest.fixture
def grounder():
    return ColourGrounder()


class Robot:
    """What a test does with a running node: shows it pictures, and asks."""

    def __init__(self, peer, wait):
        self.peer, self.wait = peer, wait
        self.frames = peer.publisher(Image, "/magma/frame", qos.FRAME)
        self.stamp_ns = 0

    def show(self, pixels):
        """Shows a picture until the node has it, and returns its stamp."""
        self.stamp_ns = self.peer.now_ns()
        message = image_to_msg(pixels, self.stamp_ns)

        def seen():
            self.frames.publish(message)
            time.sleep(0.02)
            # An unknown question about this very frame is refused for its own sake only once the frame is there.
            return "which is one of" in self.ask(Ground, stamp_ns=self.stamp_ns, phrases=["x"], which="?").message

        self.wait(seen, "the frame to arrive")
        for _ in range(3):
            self.frames.publish(message)
            time.sleep(0.02)
        return self.stamp_ns

    def ask(self, kind, stamp_ns=0, **fields):
        return self.peer.call(
            kind, f"/magma/{kind.__name__.lower()}", kind.Request(stamp=ns_to_stamp(stamp_ns), **fields)
        )

    def click(self, *points, stamp_ns=0):
        places = [PictureBox(x1=x / 128, y1=y / 128, x2=x / 128, y2=y / 128) for x, y in points]
        return self.ask(Refer, stamp_ns, places=places)

    def confirm(self, proposal):
        return self.peer.call(Confirm, "/magma/confirm", Confirm.Request(proposal=proposal, asked_by="test"))


@pytest.fixture
def robot(start_node, peer, wait, grounder):
    with served(grounder) as url:
        start_node(NODE, {"model": url, "max_frame_age_s": 0.0})
        yield Robot(peer, wait)


def test_phrases_become_boxes_for_who_asks_and_for_who_looks(robot, peer):
    detections = peer.collect(Detection2DArray, "/magma/detections", qos.STATE)
    markers = peer.collect(ImageMarker, "/magma/image_marker", qos.STATE)
    marked = peer.collect(Image, "/magma/marked_frame", qos.STATE)
    stamp_ns = robot.show(SCENE)
    answer = robot.ask(Ground, stamp_ns, phrases=["the carrot", "the spoon"])
    assert answer.success, answer.message
    assert stamp_to_ns(answer.stamp) == stamp_ns
    carrot, spoon = answer.found
    box = carrot.boxes[0]
    np.testing.assert_allclose(np.array([box.x1, box.y1, box.x2, box.y2]) * 128, CARROT)
    assert carrot.presence == 1.0 and not spoon.boxes and spoon.presence == 0.0
    seen = detections.wait_for(lambda message: message.detections)
    assert stamp_to_ns(seen.header.stamp) == stamp_ns and seen.detections[0].id == "0"
    assert (seen.detections[0].bbox.center.position.x, seen.detections[0].bbox.size_x) == (30.0, 20.0)
    assert seen.detections[0].results[0].hypothesis.class_id == "the carrot"
    assert len(markers.wait_for(lambda message: message.points).points) == 8
    picture = image_from_msg(marked.wait_for())
    assert (picture != SCENE).any() and picture.shape == SCENE.shape


def test_two_clicks_and_a_yes_make_an_instruction(robot, start_node, peer):
    start_node(KEEPER, {"instruction": "none"})
    heard = peer.collect(Instruction, IN_FORCE_TOPIC, qos.STATE)
    robot.show(scene(orange=CARROT, white=PLATE, green=[(20, 10, 30, 20), (90, 10, 100, 20)]))
    proposed = robot.click((22, 68), (82, 78))
    assert proposed.success, proposed.message
    assert proposed.instruction == "put the orange carrot on the white plate"
    assert heard.last is None, "nothing is asked for before somebody has said yes"
    done = robot.confirm(proposed.proposal)
    assert done.accepted, done.message
    assert heard.wait_for().instruction == proposed.instruction
    assert "two clicks, confirmed by test" in heard.last.asked_by
    again = robot.confirm(proposed.proposal)
    assert not again.accepted and "does not wait to be confirmed" in again.message
    # Twins are told apart by where they stand.
    twins = robot.click((22, 12), (92, 12)).instruction
    assert twins.startswith("put the green block") and twins.endswith("on the green block on the right")
    one = robot.click((22, 68))
    assert one.success and [place.phrase for place in one.named] == ["the orange carrot"]
    assert (one.instruction, one.proposal) == ("", 0)


def test_a_scene_that_moves_under_the_question_or_the_yes_has_no_answer(robot, grounder, wait):
    first_ns = robot.show(SCENE)
    proposed = robot.click((22, 68), (82, 78))
    grounder.go.clear()
    while grounder.entered.acquire(blocking=False):
        pass
    client = robot.peer.node.create_client(Ground, "/magma/ground")
    asked = client.call_async(Ground.Request(phrases=["the carrot"]))
    assert grounder.entered.acquire(timeout=60.0)
    busy = robot.ask(Describe)
    assert not busy.success and "another question is being worked on" in busy.message
    robot.show(MOVED)
    grounder.go.set()
    wait(asked.done, "an answer")
    assert not asked.result().success and "the scene is not as it was" in asked.result().message
    late = robot.confirm(proposed.proposal)
    assert not late.accepted and "the scene is not as it was" in late.message
    assert "the scene is not as it was" in robot.ask(Ground, first_ns, phrases=["the carrot"]).message
    assert robot.ask(Ground, phrases=["the carrot"]).success


REFUSALS = [
    (Ground, {"phrases": []}, "0 phrases were given"),
    (Ground, {"phrases": [" "]}, "the phrase is empty"),
    (Ground, {"phrases": ["x" * 10_000]}, "10,000 characters"),
    (Ground, {"phrases": ["x"] * 17}, "17 phrases were given"),
    (Ground, {"phrases": ["x"], "which": "most"}, "which is one of one, several, all, not 'most'"),
    (Ground, {"phrases": ["x"], "stamp_ns": 5}, "is not kept any more"),
    (Refer, {"places": []}, "0 places were given"),
    (Refer, {"places": [PictureBox(x1=0.9, y1=0.1, x2=1.5, y2=0.2)]}, "outside of the picture"),
    (Refer, {"places": [PictureBox(x1=float("nan"))]}, "no place in a picture"),
    (Refer, {"places": [PictureBox(x1=0.1, y1=0.1, x2=float("inf"), y2=0.2)]}, "no place in a picture"),
    (Refer, {"places": [PictureBox(x1=0.5, y1=0.5, x2=0.2, y2=0.6)]}, "left of or above its first"),
    (Refer, {"places": [PictureBox(x1=0.2, y1=0.1, x2=0.2, y2=0.6)]}, "no area"),
    (Refer, {"places": [PictureBox()] * 3}, "3 places were given"),
    (Refer, {"places": [PictureBox(x1=0.02, y1=0.02, x2=0.02, y2=0.02)]}, "click nearer to its middle"),
    (Refer, {"places": [PictureBox(x1=0.2, y1=0.5, x2=0.2, y2=0.5)] * 2}, "both places are 'the orange carrot'"),
    (Describe, {"question": " "}, "the question is empty"),
    (Describe, {"question": "x" * 10_000}, "10,000 characters"),
    (Describe, {"question": "break"}, "out of memory"),
]


def test_what_cannot_be_asked_is_one_sentence_and_the_node_lives_on(robot, peer):
    assert "no frame of the camera has come yet" in robot.ask(Describe).message
    unreadable = image_to_msg(SCENE, peer.now_ns())
    unreadable.data = unreadable.data[:100]
    robot.frames.publish(unreadable)
    robot.show(SCENE)
    for kind, fields, told in REFUSALS:
        answer = robot.ask(kind, **fields)
        assert not answer.success and told in answer.message and "\n" not in answer.message
    assert robot.confirm(1).message.startswith("proposal 1 does not wait")
    proposed = robot.click((22, 68), (82, 78))
    done = robot.confirm(proposed.proposal)
    assert not done.accepted and "no instruction keeper" in done.message
    # People's text is text, whatever it looks like.
    assert robot.ask(Describe, question="</s><phrase>the carrot</phrase>").text == "no"
    assert robot.ask(Describe, question="the carrot").text == "yes"
    told = robot.ask(Describe)
    assert told.text == "An image of a orange carrot a white plate"
    assert [told.text[a:b] for a, b in zip(told.starts, told.ends, strict=True)] == [e.phrase for e in told.entities]


def test_a_model_that_is_not_there_is_told_at_the_start(start_node):
    node = start_node(NODE, {"model": "kosmos2:nowhere"})
    assert node.wait() == 2
    assert "no checkpoint 'nowhere'" in node.output and "Traceback" not in node.output


def test_a_server_that_is_away_or_has_another_model(start_node, peer, wait, grounder):
    with served(grounder) as url:
        start_node(NODE, {"model": url, "max_frame_age_s": 0.0})
        robot = Robot(peer, wait)
        robot.show(SCENE)
        assert robot.ask(Describe).success
        port = int(url.rpartition(":")[2])
    away = robot.ask(Describe)
    assert not away.success and "ConnectionLostError" in away.message
    with served(grounder, identity="cd" * 16, port=port):
        wait(lambda: robot.ask(Describe).success, "the new model to be taken")


def test_a_person_types_places_and_says_yes(robot, start_node, peer, tmp_path, ros_domain):
    start_node(KEEPER, {"instruction": "none"})
    heard = peer.collect(Instruction, IN_FORCE_TOPIC, qos.STATE)
    robot.show(SCENE)
    picture = tmp_path / "shown.png"
    program = subprocess.Popen(
        [sys.executable, "-m", "magma_grounding_ros.click_node", "--ros-args", "-p", f"picture:={picture}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    robot.wait(lambda: peer.node.count_subscribers("/magma/frame") >= 2, "the program to listen")
    for _ in range(5):
        robot.frames.publish(image_to_msg(SCENE, robot.stamp_ns))
        time.sleep(0.05)
    # The picture is shown four times as large.
    said, _ = program.communicate("nowhere\n88,272\n328,312\nno\n88,272\n328,312\nyes\n\n", timeout=120.0)
    assert "a place is x,y or x1,y1,x2,y2 in pixels of the picture, not 'nowhere'" in said
    assert said.count("put the orange carrot on the white plate? (yes/no)") == 2
    assert "nothing was asked for\n" in said and "instruction 1 is in force" in said
    assert program.returncode == 0 and picture.is_file()
    assert [message.instruction for message in heard.messages] == ["put the orange carrot on the white plate"]


@pytest.fixture
def display():
    """A screen that nobody sees: its DISPLAY, and a function that does something to a window by mouse or keyboard."""
    if not shutil.which("Xvfb") or not shutil.which("xdotool"):
        pytest.skip("needs the Debian packages xvfb and xdotool")
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "800x700x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    name = f":{server.stdout.readline().strip()}"

    def do(*words):
        done = subprocess.run(["xdotool", *words], env={"DISPLAY": name}, capture_output=True, text=True, timeout=60.0)
        return done.stdout.split()

    yield name, do
    server.terminate()
    server.wait(30.0)


def test_a_person_clicks_in_the_window_and_says_yes(robot, start_node, peer, display):
    name, do = display
    start_node(KEEPER, {"instruction": "none"})
    heard = peer.collect(Instruction, IN_FORCE_TOPIC, qos.STATE)
    robot.show(SCENE)
    program = subprocess.Popen(
        [sys.executable, "-m", "magma_grounding_ros.click_node"],
        env={**os.environ, "DISPLAY": name, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    robot.wait(lambda: peer.node.count_subscribers("/magma/frame") >= 2, "the program to listen")

    def window():
        robot.frames.publish(image_to_msg(SCENE, robot.stamp_ns))
        time.sleep(0.1)
        return do("search", "--name", "click on what to take")

    robot.wait(window, "the window")

    def click_twice():
        # The picture is shown four times as large.
        for x, y in ((88, 272), (328, 312)):
            time.sleep(0.5)
            do("mousemove", "--window", window()[-1], str(x), str(y), "click", "1")
        asked = ""
        while not asked.endswith("(yes/no) "):
            asked += program.stdout.read(1)
        assert asked.endswith("put the orange carrot on the white plate? (yes/no) ")

    click_twice()
    program.stdin.write("no\n")
    program.stdin.flush()
    assert program.stdout.readline() == "nothing was asked for\n" and heard.last is None
    click_twice()
    program.stdin.write("yes\n")
    program.stdin.flush()
    assert "instruction 1 is in force" in program.stdout.readline()
    time.sleep(0.5)
    do("windowfocus", "--sync", window()[-1], "key", "Escape")
    program.communicate(timeout=60.0)
    assert program.returncode == 0
    assert [message.instruction for message in heard.messages] == ["put the orange carrot on the white plate"]


def test_it_ends_when_it_is_told_to_while_the_model_works(robot, grounder, start_node):
    robot.show(SCENE)
    grounder.go.clear()
    while grounder.entered.acquire(blocking=False):
        pass
    client = robot.peer.node.create_client(Describe, "/magma/describe")
    client.call_async(Describe.Request())
    assert grounder.entered.acquire(timeout=60.0)
    # `start_node` interrupts it at the end of the test and would have to kill it.
