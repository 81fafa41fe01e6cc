"""A model that points at the things of coloured scenes, behind magma-serve's own server."""

from __future__ import annotations

import contextlib
import threading

import numpy as np

from magma_contracts.geometry.boxes import holds
from magma_contracts.grounding import Entity, Expression, GroundedText, Grounding
from magma_policy.grounding.expressions import Thing, resolve
from magma_policy.grounding.local_pointer import LocalPointer
from magma_policy.serving.batching import Batcher
from magma_policy.serving.front import Limits
from magma_policy.serving.grounding_connection import GroundingServer
from magma_policy.serving.metrics import Metrics
from magma_policy.serving.served_pointer import ServedPointer
from tests.running_server import running

LONG_S = 30.0
COLOURS = {"orange": (230, 120, 20), "white": (240, 240, 240), "green": (30, 160, 60)}
KINDS = {"orange": "carrot", "white": "plate", "green": "block"}
TABLE = (110, 80, 60)


def scene(**boxes):
    """A picture uint8 (128, 128, 3) of a table with things by colour, each x1, y1, x2, y2 in pixels; a list of boxes
    puts down several."""
    pixels = np.full((128, 128, 3), TABLE, np.uint8)
    for colour, places in boxes.items():
        for x1, y1, x2, y2 in places if isinstance(places, list) else [places]:
            pixels[y1:y2, x1:x2] = COLOURS[colour]
    return pixels


class ColourGrounder:
    """Knows what stands in a picture of `scene` by reading its pixels; waits for `go`."""

    def __init__(self):
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Semaphore(0)

    def things(self, image):
        found = []
        for colour, rgb in COLOURS.items():
            mask = (image == np.array(rgb, np.uint8)).all(axis=-1)
            while mask.any():
                y, x = np.argwhere(mask)[0]
                right = x + np.argmin(np.append(mask[y, x:], False))
                bottom = y + np.argmin(np.append(mask[y:, x], False))
                mask[y:bottom, x:right] = False
                height, width = image.shape[:2]
                found.append(Thing(KINDS[colour], colour, (x / width, y / height, right / width, bottom / height)))
        return found

    def _look(self, image):
        self.entered.release()
        assert self.go.wait(LONG_S)
        return self.things(image)

    def ground(self, image, phrases, which="one"):
        things = self._look(image)
        answers = []
        for phrase in phrases:
            boxes = np.array([things[i].box for i in resolve(things, phrase)], dtype=np.float64).reshape(-1, 4)
            boxes = boxes[:1] if which == "one" else boxes
            answers.append(Grounding(phrase, boxes, np.linspace(0.9, 0.5, len(boxes)), float(len(boxes) > 0)))
        return answers

    def refer(self, image, box):
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        names = [f"a {one.colour} {one.kind}" for one in self._look(image) if holds(one.box, middle)]
        return Expression(names[0] if names else "the table", 0.9)

    def describe(self, image, *, detailed=False):
        text, entities = "An image of", []
        for thing in self._look(image):
            phrase = f"a {thing.colour} {thing.kind}"
            span = (len(text) + 1, len(text) + 1 + len(phrase))
            text = f"{text} {phrase}"
            entities.append(Entity(phrase, span, np.array([thing.box]), np.array([0.9])))
        return GroundedText(text, tuple(entities))

    def answer(self, image, question):
        if "break" in question:
            raise RuntimeError("out of memory")
        return GroundedText("yes" if resolve(self._look(image), question) else "no")


@contextlib.contextmanager
def served(grounder, identity="ab" * 16, name="colours", port=0, token=None):
    """The grounder behind magma-serve's own server, in a thread: its address."""
    pointer = ServedPointer(LocalPointer(grounder, identity), name)
    metrics = Metrics()
    batcher = Batcher(pointer, 1, 0.0, 8, metrics.batch)
    server = GroundingServer(batcher, metrics, Limits(2**20, 8), token, name, identity)
    with running(lambda: (server, batcher), port) as url:
        try:
            yield url.replace("http", "ws")
        finally:
            if hasattr(grounder, "go"):
                grounder.go.set()
