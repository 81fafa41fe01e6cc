"""The messages of a model that points: whatever is packed comes back, and nothing else is read."""

import dataclasses

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_contracts.grounding import Entity, Expression, GroundedText, Grounding, NamedPlace
from magma_policy_client import ProtocolError
from magma_policy_client import grounding_messages as messages
from magma_policy_client.messages import Failure

BOX = np.array([0.1, 0.2, 0.3, 0.4])
BOXES = np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0]])
IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
TOLD = GroundedText("a carrot", (Entity("carrot", (2, 8), BOXES, np.array([0.9, np.nan])),), 1)
EVERY = [
    messages.GroundingHello(1, "test"),
    messages.GroundingWelcome(1, "magma-serve", "kosmos-tiny", 1000, "ab12"),
    messages.Ground(1, 0.5, IMAGE, ("the carrot", "</s>"), "all"),
    messages.Refer(2, 0.5, IMAGE, BOX),
    messages.Name(3, 0.5, IMAGE, BOX),
    messages.Describe(4, 0.5, IMAGE, True),
    messages.Ask(5, 0.5, IMAGE, "Is there a carrot?"),
    messages.Found(
        1, (Grounding("the carrot", BOXES, np.array([0.9, 0.1]), 0.5), Grounding("x", BOXES[:0], BOX[:0], 0.0))
    ),
    messages.Called(2, Expression("a carrot", 0.25)),
    messages.Named(3, NamedPlace("the carrot", BOX, 0.7, 0.8, 0.9)),
    messages.Told(4, TOLD),
    Failure(None, "observation", "too dark"),
]


def same(one, other):
    """Equality that looks into arrays."""
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if dataclasses.is_dataclass(one):
        return type(one) is type(other) and all(
            same(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True)
        )
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("message", EVERY, ids=lambda message: type(message).__name__)
def test_every_message_comes_back_as_it_was(message):
    assert same(message, messages.decode(messages.encode(message)))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (messages.Ground(1, 0.5, IMAGE, ("x",), "most"), "which must be one of one, several, all"),
        (messages.Ground(1, 0.5, IMAGE, ("x" * 5000,), "one"), r"phrases\[0\] must be text of at most"),
        (messages.Ground(1, 0.5, IMAGE[..., 0], ("x",), "one"), "image must be a uint8 array"),
        (messages.Ground(1, 0.0, IMAGE, ("x",), "one"), "budget_s"),
        (messages.Refer(1, 0.5, IMAGE, np.array([0.0, np.nan, 1.0, 1.0])), "box must be finite"),
        (messages.Name(1, 0.5, IMAGE, BOX[:2]), "place must be a float64 array of shape"),
        (messages.Found(1, (Grounding("x", BOXES, np.array([0.9]), 0.5),)), "2 boxes and 1 confidences"),
        (messages.Found(1, (Grounding("x", BOXES, np.array([0.9, 0.1]), 1.5),)), r"found\[0\].presence"),
    ],
)
def test_what_the_other_side_would_reject_is_not_sent(message, told):
    with pytest.raises(ProtocolError, match=told):
        messages.encode(message)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(data):
    for read in (messages.decode, messages.peek_version):
        try:
            read(data)
        except ProtocolError:
            continue


@given(st.sampled_from(EVERY), st.data())
def test_damaged_messages_are_read_whole_or_not_at_all(message, data):
    fields = msgpack.unpackb(messages.encode(message), raw=False, strict_map_key=False)
    name = data.draw(st.sampled_from(sorted(fields)))
    fields[name] = data.draw(st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3))
    try:
        read = messages.decode(msgpack.packb(fields))
    except (ProtocolError, OverflowError):
        return
    assert type(read) in messages.TYPES.values()
