"""The bytes between policy client and server: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import dataclasses
import os
import pickle

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import STATE_SIZE, ArmState
from magma_policy_client import ProtocolError, codec, messages
from magma_policy_client.arrays import DTYPES, MAX_DIMENSIONS, pack_array, unpack_array

EXAMPLES = int(os.environ.get("MAGMA_FUZZ_EXAMPLES", "200"))
"""Per property; the sweep with 10**5 is run by hand."""

SPEC = ActionSpec(
    "magma-tiny", 1, 0.2, "base", "axis_angle", "absolute_open_1", "tabletop", "third_person", 128, 128, True
)
finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
texts = st.text(max_size=60)
labels = texts.filter(str.isprintable)
sequences = st.integers(0, codec.MAX_SEQUENCE)
any_array = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
states = hnp.arrays(np.float64, STATE_SIZE).map(ArmState.from_vector)
message = st.one_of(
    st.builds(messages.Hello, st.integers(0, 2**31), labels, texts),
    st.builds(
        messages.Welcome,
        st.integers(0, 2**31),
        labels,
        st.just(SPEC),
        st.lists(labels, max_size=4).map(tuple),
        st.integers(1, 2**40),
        st.text("0123456789abcdef", max_size=64),
    ),
    st.builds(
        messages.Act,
        sequences,
        texts,
        st.floats(1e-6, codec.MAX_BUDGET_S),
        texts,
        hnp.arrays(np.uint8, st.tuples(st.integers(0, 5), st.integers(0, 5), st.just(3))),
        st.none() | states,
    ),
    st.builds(messages.Reset, sequences, texts),
    st.builds(
        messages.Result,
        sequences,
        hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.just(7)), elements=finite),
        st.dictionaries(labels, finite, max_size=5),
        st.none() | hnp.arrays(np.float64, st.tuples(st.integers(0, 4), st.just(2)), elements=finite),
    ),
    st.builds(messages.Done, sequences),
    st.builds(messages.Failure, st.none() | sequences, st.sampled_from(messages.FAILURE_CODES), texts),
)


def assert_equal(one, other):
    assert type(one) is type(other)
    for item in dataclasses.fields(one):
        left, right = getattr(one, item.name), getattr(other, item.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
        elif dataclasses.is_dataclass(left) and any(isinstance(v, np.ndarray) for v in vars(left).values()):
            assert_equal(left, right)
        else:
            assert left == right or (left != left and right != right)


@settings(max_examples=EXAMPLES, deadline=None)
@given(any_array)
def test_arrays_return_as_they_went(array):
    back = unpack_array(pack_array(array))
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)


def test_strided_and_big_endian_arrays_keep_their_values():
    picture = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    np.testing.assert_array_equal(unpack_array(pack_array(picture[::-1, ::2])), picture[::-1, ::2])
    np.testing.assert_array_equal(unpack_array(pack_array(np.arange(5, dtype=">f8"))), np.arange(5.0))


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        np.zeros(2, dtype=[("a", "f4")]),
        np.zeros(2, dtype=complex),
        np.zeros((1,) * (MAX_DIMENSIONS + 1)),
    ],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(ProtocolError, match="cannot be sent"):
        pack_array(array)


@settings(max_examples=EXAMPLES, deadline=None)
@given(message)
def test_messages_return_as_they_went(item):
    assert_equal(messages.decode(messages.encode(item)), item)


def decode_or_refuse(data):
    """What a server does with bytes: a message, or ProtocolError; anything else that is raised fails the test."""
    for read in (messages.decode, messages.peek_version):
        try:
            read(data)
        except ProtocolError as error:
            assert str(error) and len(str(error)) < 2000
    codec.peek_sequence(data)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_refused(data):
    decode_or_refuse(data)


@settings(max_examples=EXAMPLES, deadline=None)
@given(message, st.data())
def test_damaged_messages_are_a_message_or_refused(item, data):
    packed = bytearray(messages.encode(item))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(packed) - 1))
        packed[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packed)))
    decode_or_refuse(bytes(packed))
    decode_or_refuse(bytes(packed[:cut]))
    decode_or_refuse(bytes(packed) + data.draw(st.binary(min_size=1, max_size=8)))


json_like = st.recursive(
    st.one_of(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts | st.binary(max_size=20),
        any_array.map(lambda array: msgpack.ExtType(codec.ARRAY_CODE, pack_array(array))),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.integers(0, 5), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(message, st.data())
def test_well_formed_maps_with_wrong_values_are_a_message_or_refused(item, data):
    fields = msgpack.unpackb(messages.encode(item), raw=False, strict_map_key=False)
    for name in data.draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)):
        fields[name] = data.draw(json_like)
    fields.update(data.draw(st.dictionaries(texts, json_like, max_size=1)))
    decode_or_refuse(msgpack.packb(fields))


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"type": "hello"}),
        b"\x91" * 100_000,
        b"\x81\xa1a" * 50_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        msgpack.packb(msgpack.Timestamp(5)),
        msgpack.packb({"type": "act", "image": msgpack.ExtType(2, b"x")}),
        msgpack.packb({"type": ["hello"]}),
        msgpack.packb({1: 2}),
        msgpack.packb([1, 2]),
        b"",
    ],
)
def test_hostile_bytes_are_refused(data):
    with pytest.raises(ProtocolError):
        messages.decode(data)
    decode_or_refuse(data)


def test_refusals_name_the_field():
    good = messages.Act(1, "", 1.0, "go", np.zeros((2, 2, 3), np.uint8), None)
    for change, says in [
        ({"image": np.zeros((2, 2, 3), np.float32)}, "image must be a uint8 array"),
        ({"image": np.zeros((2, 2), np.uint8)}, "image must be a uint8 array of shape"),
        ({"budget_s": float("nan")}, "budget_s"),
        ({"budget_s": -1.0}, "budget_s"),
        ({"sequence": -1}, "sequence"),
        ({"sequence": True}, "sequence"),
        ({"instruction": "x" * 5000}, "instruction must be text of at most"),
    ]:
        with pytest.raises(ProtocolError, match=says):
            messages.encode(dataclasses.replace(good, **change))
    for deltas in (np.full((1, 7), np.nan), np.zeros((0, 7)), np.zeros((1, 6)), np.zeros((1, 7), np.float32)):
        with pytest.raises(ProtocolError, match="deltas"):
            messages.encode(messages.Result(1, deltas, {}))


def test_a_newer_hello_can_still_be_told_its_version():
    data = msgpack.packb({"type": "hello", "protocol": 99, "something new": [1, 2]})
    with pytest.raises(ProtocolError):
        messages.decode(data)
    assert messages.peek_version(data) == 99


def test_a_message_has_only_so_many_values_in_all():
    for value in ([[[0] * 200] * 200] * 2, [[[{}] * 200] * 200] * 2):
        with pytest.raises(ProtocolError, match="more than 65536 values"):
            codec.unpack(msgpack.packb({"type": value}))
