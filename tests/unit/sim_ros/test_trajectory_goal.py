"""Goals of the simulated joint_trajectory_controller: what is refused, and how a goal ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from magma_sim_ros.trajectory_following import TrajectoryFollower
from magma_sim_ros.trajectory_goal import Code, Tolerances, judge, tolerances_of_goal

NAMES = ["a", "b"]
ZERO = np.zeros(2)


@dataclass
class Tolerance:
    name: str
    position: float = 0.0
    velocity: float = 0.0


@pytest.fixture
def follower():
    return TrajectoryFollower(NAMES, np.array([0.0, 1.0]))


class TestFollower:
    def test_it_goes_through_every_point_in_the_arms_order_and_stays_at_the_last(self, follower):
        follower.start(10.0, ["b", "a"], [0.5, 1.0], [[1.5, 0.1], [2.0, 0.2]], [[1.0, 0.2], [0.0, 0.0]])
        assert follower.end_s == 11.0
        for now_s, place, speed in ((10.0, [0, 1], [0, 0]), (10.5, [0.1, 1.5], [0.2, 1.0]), (11.0, [0.2, 2.0], [0, 0])):
            positions, velocities = follower.at(now_s)
            assert positions == pytest.approx(place) and velocities == pytest.approx(speed)
        assert follower.at(99.0)[0] == pytest.approx([0.2, 2.0]) and not follower.at(99.0)[1].any()

    def test_a_new_trajectory_begins_from_where_the_old_one_is(self, follower):
        follower.start(0.0, NAMES, [1.0], [[1.0, 1.0]], [[0.0, 0.0]])
        before = follower.at(0.4)
        follower.start(0.4, NAMES, [1.0], [[0.0, 0.0]], [[0.0, 0.0]])
        for one, other in zip(follower.at(0.4), before, strict=True):
            assert one == pytest.approx(other)

    @pytest.mark.parametrize(
        ("names", "times", "positions", "velocities", "message"),
        [
            (["a", "c"], [1.0], [[0, 0]], [[0, 0]], "this arm has"),
            (NAMES, [], [], [], "0 times"),
            (NAMES, [1.0], [[0]], [[0, 0]], "needs 2 positions"),
            (NAMES, [1.0, 1.0], [[0, 0]] * 2, [[0, 0]] * 2, "must rise"),
            (NAMES, [0.0], [[0, 0]], [[0, 0]], "must rise"),
            (NAMES, [1.0], [[float("nan"), 0]], [[0, 0]], "finite"),
            (NAMES, [1.0], [[0, 0]], [[0, 0.1]], "ends in motion"),
        ],
    )
    def test_what_cannot_be_followed_changes_nothing(self, follower, names, times, positions, velocities, message):
        follower.start(0.0, NAMES, [1.0], [[1.0, 1.0]], [[]])
        with pytest.raises(ValueError, match=message):
            follower.start(0.5, names, times, positions, velocities)
        assert follower.at(1.0)[0] == pytest.approx([1.0, 1.0])


class TestTolerances:
    def test_zero_is_the_default_and_minus_one_is_none(self):
        path = [Tolerance("b", position=0.1)]
        goal = [Tolerance("a", velocity=-1.0), Tolerance("b", position=0.2)]
        given = tolerances_of_goal(NAMES, path, goal, 0.5)
        assert given.path_position.tolist() == [0.0, 0.1] and not given.path_velocity.any()
        assert given.goal_position.tolist() == [0.0, 0.2]
        assert given.goal_velocity.tolist() == [0.0, 0.01]
        assert given.goal_time_s == 0.5

    def test_what_makes_no_sense_is_an_error(self):
        with pytest.raises(ValueError, match="joint 'z'"):
            tolerances_of_goal(NAMES, [Tolerance("z")], [], 0.0)
        with pytest.raises(ValueError, match=r"-0\.5"):
            tolerances_of_goal(NAMES, [], [Tolerance("a", position=-0.5)], 0.0)


class TestJudge:
    tolerances = Tolerances(np.array([0.1, 0.0]), ZERO, np.array([0.01, 0.0]), np.array([0.05, 0.05]), 0.5)

    def test_on_the_way(self):
        assert judge(self.tolerances, -0.1, np.array([0.09, 9.0]), np.array([9.0, 9.0])) is None
        verdict = judge(self.tolerances, -0.1, np.array([-0.11, 0.0]), ZERO)
        assert verdict is not None and verdict.code is Code.PATH_TOLERANCE_VIOLATED

    def test_at_the_end_it_waits_for_the_arm_and_not_for_ever(self):
        far, near = np.array([0.02, 0.0]), np.array([0.005, 0.0])
        assert judge(self.tolerances, 0.0, far, ZERO) is None
        assert judge(self.tolerances, 0.4, near, np.array([0.0, 0.06])) is None
        done = judge(self.tolerances, 0.4, near, ZERO)
        assert done is not None and done.code is Code.SUCCESSFUL
        late = judge(self.tolerances, 0.51, far, ZERO)
        assert late is not None and late.code is Code.GOAL_TOLERANCE_VIOLATED

    def test_without_a_time_it_waits_as_long_as_it_takes(self):
        assert judge(Tolerances.default(2), 1e6, ZERO, np.array([0.02, 0.0])) is None
