"""Two clicks and a yes move a carrot onto a plate: launched graph, grounding node, keeper, controller, expert."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from magma_interfaces.msg import EpisodeStatus, Instruction, PictureBox
from magma_interfaces.srv import Confirm, Refer
from sensor_msgs.msg import Image

from magma_common import qos
from magma_common.instruction_topics import IN_FORCE_TOPIC
from magma_contracts.camera import project
from magma_contracts.geometry.boxes import holds
from magma_contracts.grounding import Expression, Grounding
from magma_sim import make_task
from magma_sim.tasks.object_words import OBJECT_WORDS

_path = Path(__file__).parents[1] / "graph" / "grounding_peers.py"
_spec = importlib.util.spec_from_file_location("grounding_peers", _path)
peers = importlib.util.module_from_spec(_spec)
sys.modules["grounding_peers"] = peers
_spec.loader.exec_module(peers)

pytestmark = pytest.mark.render
STARTING_S = 150.0
HALF = 0.06
"""Half the side of the box round an object's middle that the oracle calls its place, as a share of the picture."""


def middles(task, layout):
    """Where the objects of a layout stand in the picture: name -> (x, y) as fractions."""
    made = make_task(task, images=False)
    observation, spec = made.reset("eval", layout), made.spec
    made.close()
    points = np.array([pose[0] for pose in observation.object_poses.values()])
    pixels = project(points, spec.camera_intrinsics, spec.camera_extrinsics)
    return dict(zip(observation.object_poses, pixels / (spec.image_width, spec.image_height), strict=True))


class Oracle:
    """Knows where everything stands, and calls it by its noun."""

    def __init__(self, places):
        self.places = {OBJECT_WORDS[name].noun: np.array([*(xy - HALF), *(xy + HALF)]) for name, xy in places.items()}

    def ground(self, image, phrases, which="one"):
        found = [[box for noun, box in self.places.items() if phrase == f"the {noun}"] for phrase in phrases]
        return [
            Grounding(phrase, np.array(boxes).reshape(-1, 4), np.full(len(boxes), 0.9), float(len(boxes) > 0))
            for phrase, boxes in zip(phrases, found, strict=True)
        ]

    def refer(self, image, box):
        middle = (box[:2] + box[2:]) / 2
        near = {noun: np.linalg.norm((place[:2] + place[2:]) / 2 - middle) for noun, place in self.places.items()}
        noun = min(near, key=near.get)
        return Expression(f"a {noun}" if holds(self.places[noun], middle) else "the table", 0.9)


def test_two_clicks_and_a_yes_carry_out_a_task(launch, peer):
    places = middles("carrot_on_plate", 0)
    with peers.served(Oracle(places)) as url:
        launch("policy:=expert", "task:=carrot_on_plate", "instruction:=none", f"grounding:={url}")
        peer.collect(Image, "/magma/frame", qos.FRAME, matched=0).wait_for(timeout_s=STARTING_S)
        status = peer.collect(EpisodeStatus, "/magma/episode_status", qos.STATE, matched=0)
        heard = peer.collect(Instruction, IN_FORCE_TOPIC, qos.STATE, matched=0)

        def click():
            return peer.call(
                Refer,
                "/magma/refer",
                Refer.Request(
                    places=[PictureBox(x1=x, y1=y, x2=x, y2=y) for x, y in (places["carrot"], places["plate"])]
                ),
            )

        proposed = peer.send_until(click, lambda answer: answer if answer.success else pytest.fail(answer.message))
        assert proposed.instruction == "put the carrot on the plate"
        assert all(not message.instruction for message in heard.messages), "a click alone moves nothing"
        done = peer.call(Confirm, "/magma/confirm", Confirm.Request(proposal=proposed.proposal, asked_by="test"))
        assert done.accepted, done.message
        assert "two clicks" in heard.wait_for(lambda message: message.instruction).asked_by
        status.wait_for(lambda message: message.success, timeout_s=STARTING_S)
        # The arm has moved: what was clicked on is not what is there now.
        again = peer.call(Confirm, "/magma/confirm", Confirm.Request(proposal=proposed.proposal))
        assert not again.accepted
