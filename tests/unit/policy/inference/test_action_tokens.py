import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_policy.inference.action_tokens import CENTRES, ActionTokenError, ActionTokens, bin_centres_by_id

CODEC = ActionTokens(128000)


def test_published_id_range_and_special_values():
    assert (CODEC.first_id, CODEC.last_id) == (127744, 127999)
    assert CODEC.encode(np.array([-1.0, 0.0, 1.0])).tolist() == [127999, 127872, 127744]
    assert CENTRES[0] == pytest.approx(-0.996078, abs=1e-6)
    assert CENTRES[-1] == pytest.approx(0.996078, abs=1e-6)
    assert CENTRES[127] == pytest.approx(0.0, abs=1e-12)
    assert np.diff(CENTRES) == pytest.approx(0.00784314, abs=1e-8)


def test_golden_ids_decode_to_the_published_values():
    ids = np.array([127857, 127873, 127868, 127904, 127861, 127874, 127744])
    expected = [0.11765, -0.00784, 0.03137, -0.25098, 0.08627, -0.01569, 0.99608]
    assert CODEC.decode(ids) == pytest.approx(expected, abs=1e-5)


def test_two_lowest_ids_share_the_top_centre():
    assert CODEC.decode(np.array([127744, 127745])) == pytest.approx([CENTRES[-1]] * 2)


@given(st.floats(-1.0, 1.0))
def test_round_trip_stays_within_half_a_bin(value):
    decoded = CODEC.decode(CODEC.encode(np.array([value])))[0]
    assert abs(decoded - value) <= (2.0 / 255) / 2 + 1e-9


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_out_of_range_values_are_clipped_to_valid_ids(value):
    encoded = CODEC.encode(np.array([value]))
    assert 127744 <= encoded[0] <= 127999
    assert CODEC.encode(np.clip([value], -1, 1))[0] == encoded[0]


@given(st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=10))
def test_order_is_reversed(values):
    values = sorted(values)
    assert (np.diff(CODEC.encode(np.array(values))) <= 0).all()


@given(st.integers(-(2**31), 2**31))
def test_ids_outside_the_range_are_refused(identifier):
    if 127744 <= identifier <= 127999:
        assert -1.0 < CODEC.decode(np.array([identifier]))[0] < 1.0
    else:
        with pytest.raises(ActionTokenError, match=str(identifier)):
            CODEC.decode(np.array([127800, identifier]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_refused(value):
    with pytest.raises(ActionTokenError, match="non-finite"):
        CODEC.encode(np.array([0.0, value]))


def test_float_ids_are_refused():
    with pytest.raises(ActionTokenError, match="integers"):
        CODEC.decode(np.array([127800.0]))


def test_centres_by_id_descend():
    centres = bin_centres_by_id()
    assert len(centres) == 256
    assert centres[0] == centres[1]
    assert (np.diff(centres[1:]) < 0).all()
