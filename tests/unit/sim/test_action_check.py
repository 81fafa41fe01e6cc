"""What an action must look like before it may move anything."""

import numpy as np
import pytest

from magma_contracts.arm_state import ArmState
from magma_sim.tasks.interface import check_action


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (np.zeros(6), r"shape \(6,\)"),
        (np.zeros((1, 7)), r"shape \(1, 7\)"),
        (np.array([0, 0, np.nan, 0, 0, 0, 1]), "finite"),
        (np.array([np.inf, 0, 0, 0, 0, 0, 1]), "finite"),
        (np.array([0, 0, 0, 0, 0, 0, 1.2]), "1.2"),
        (np.array([0, 0, 0, 0, 0, 0, -0.1]), "-0.1"),
    ],
)
def test_refused(action: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_action(action)


def test_accepted_as_float64() -> None:
    checked = check_action(np.array([0.01, 0, 0, 0, 0, 0.1, 1], dtype=np.float32))
    assert checked.dtype == np.float64 and checked.shape == (7,)


def test_order_of_the_proprioception_vector() -> None:
    numbers = np.arange(16.0)
    state = ArmState(numbers[0:3], numbers[3:7], numbers[7:10], numbers[10:14], 14.0, 15.0)
    assert np.array_equal(state.as_vector(), numbers) and state.as_vector().dtype == np.float32
