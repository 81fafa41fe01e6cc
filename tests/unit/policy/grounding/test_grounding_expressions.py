"""Words that pick out one thing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magma_policy.grounding.expressions import MARGIN, Thing, expressions, resolve


def thing(kind, colour, x, y, size=0.1):
    return Thing(kind, colour, (x - size / 2, y - size / 2, x + size / 2, y + size / 2))


SCENE = [
    thing("block", "green", 0.2, 0.5),
    thing("block", "green", 0.8, 0.5),
    thing("block", "yellow", 0.5, 0.3),
    thing("carrot", "orange", 0.5, 0.8),
    thing("plate", "white", 0.25, 0.7),
]


def test_the_shortest_words_come_first():
    assert expressions(SCENE, 3)[0] == "the carrot"
    assert expressions(SCENE, 2)[0] == "the yellow block"
    assert expressions(SCENE, 0)[0] == "the block on the left"
    assert expressions(SCENE, 1)[0] == "the block on the right"
    assert "the green block next to the plate" in expressions(SCENE, 0)


def test_what_nothing_tells_apart_has_no_words():
    twins = [thing("block", "green", 0.5, 0.5), thing("block", "green", 0.5 + MARGIN / 2, 0.5)]
    assert expressions(twins, 0) == []


def test_reading():
    assert resolve(SCENE, "The  carrot.") == [3]
    assert resolve(SCENE, "an orange carrot") == [3]
    assert resolve(SCENE, "the block") == [0, 1, 2]
    assert resolve(SCENE, "the green block") == [0, 1]
    assert resolve(SCENE, "the block at the back") == [2]
    assert resolve(SCENE, "the block next to the plate") == [0]
    assert resolve(SCENE, "the spoon") == []
    assert resolve(SCENE, "the red block") == []
    assert resolve(SCENE, "the block next to the block") == []
    assert resolve(SCENE, "") == resolve(SCENE, "next to") == resolve(SCENE, "on the left") == []


def random_scene(seed):
    rng = np.random.default_rng(seed)
    return [
        thing(rng.choice(["block", "carrot"]), rng.choice(["red", "green"]), *rng.uniform(0.1, 0.9, 2))
        for _ in range(rng.integers(1, 7))
    ]


scenes = st.integers(0, 2**32 - 1).map(random_scene)


@given(scenes)
def test_every_expression_picks_out_its_thing_alone(scene):
    for index in range(len(scene)):
        for text in expressions(scene, index):
            assert resolve(scene, text) == [index]


@given(scenes, st.text(max_size=60))
def test_any_text_is_read(scene, text):
    assert set(resolve(scene, text)) <= set(range(len(scene)))
