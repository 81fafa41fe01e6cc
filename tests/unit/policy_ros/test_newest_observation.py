import threading
import time

import numpy as np
import pytest

from magma_contracts.arm_state import EndEffectorState
from magma_policy_ros.newest_observation import STATES_KEPT, NewestObservation

PIXELS = np.zeros((2, 2, 3), np.uint8)


def state(stamp_ns: int) -> EndEffectorState:
    unit = np.array([0.0, 0.0, 0.0, 1.0])
    return EndEffectorState(stamp_ns, np.zeros(3), unit, np.zeros(3), unit, 1.0, 1.0)


def test_newest_frame_wins_and_is_handed_out_once():
    observation = NewestObservation(with_state=False)
    observation.set_instruction("go")
    for stamp in (1, 2, 3):
        observation.add_frame(stamp, PIXELS)
    request = observation.take()
    assert request is not None and request.stamp_ns == 3 and request.state is None
    assert observation.overtaken == 2
    assert "frame" in observation.waiting_for()


def test_nothing_happens_without_an_instruction():
    observation = NewestObservation(with_state=False)
    observation.add_frame(1, PIXELS)
    assert "instruction" in observation.waiting_for()
    observation.set_instruction("  ")
    assert "instruction" in observation.waiting_for()
    observation.set_instruction("go")
    assert observation.take().instruction == "go"


def test_a_new_instruction_restarts_and_a_repeated_one_does_not():
    observation = NewestObservation(with_state=False)
    observation.set_instruction("go")
    seen = []
    for stamp in range(6):
        if stamp == 2:
            observation.set_instruction(" go ")
        if stamp == 3:
            observation.set_instruction("come")
        if stamp == 5:
            observation.set_instruction("")
            observation.set_instruction("come")
        observation.add_frame(stamp, PIXELS)
        seen.append(observation.take())
    assert [request.restarted for request in seen] == [True, False, False, True, False, True]
    assert seen[2].generation + 1 == seen[3].generation == seen[4].generation
    assert seen[5].generation == observation.current_generation()


def test_state_must_belong_to_the_frame():
    observation = NewestObservation(with_state=True)
    observation.set_instruction("go")
    observation.add_state(state(10))
    observation.add_frame(11, PIXELS)
    assert "state" in observation.waiting_for()
    observation.add_state(state(11))
    assert observation.take().state.stamp_ns == 11


def test_nearest_state_within_the_tolerance():
    observation = NewestObservation(with_state=True, tolerance_s=5e-9)
    observation.set_instruction("go")
    for stamp in (90, 104, 120):
        observation.add_state(state(stamp))
    observation.add_frame(100, PIXELS)
    assert observation.take().state.stamp_ns == 104
    observation.add_frame(112, PIXELS)
    assert observation.waiting_for() is not None
    for bad in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="tolerance_s"):
            NewestObservation(with_state=True, tolerance_s=bad)


def test_old_states_are_forgotten():
    observation = NewestObservation(with_state=True)
    observation.set_instruction("go")
    for stamp in range(STATES_KEPT + 1):
        observation.add_state(state(stamp))
    observation.add_frame(0, PIXELS)
    assert observation.waiting_for() is not None


def test_a_slow_policy_never_sees_an_old_frame_and_stop_wakes_it():
    observation = NewestObservation(with_state=True)
    observation.set_instruction("go")
    taken = []

    def act():
        while True:
            newest_before = newest[0]
            request = observation.take()
            if request is None:
                return
            taken.append((request.stamp_ns, newest_before))
            time.sleep(0.01)

    newest = [0]
    thread = threading.Thread(target=act)
    thread.start()
    stamp = 0
    while stamp < 100 or len(taken) < 3:
        stamp += 1
        observation.add_state(state(stamp))
        observation.add_frame(stamp, PIXELS)
        newest[0] = stamp
        time.sleep(0.001)
    observation.stop()
    thread.join(timeout=60)
    assert not thread.is_alive()
    stamps = [stamp for stamp, _ in taken]
    assert stamps == sorted(set(stamps)) and len(stamps) < stamp
    assert all(stamp >= newest_before for stamp, newest_before in taken)
