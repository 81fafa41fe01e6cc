import numpy as np
import pytest

from magma_contracts.arm_state import EndEffectorState
from magma_sim_ros.matched_world import KEPT, MatchedWorld
from magma_sim_ros.scripted_policies import CannotActError, make_policy

DOWN = np.array([1.0, 0.0, 0.0, 0.0])
UNIT = np.array([0.0, 0.0, 0.0, 1.0])


def arm(stamp_ns=1, gripper_target=0.3):
    position = np.array([0.45, 0.0, 0.2])
    return EndEffectorState(stamp_ns, position, DOWN, position, DOWN, 1.0, gripper_target)


SCENE = {
    name: (np.array([0.45, y, 0.02]), UNIT)
    for name, y in [("carrot", -0.1), ("plate", 0.1), ("spoon", -0.2), ("towel", 0.2)]
}


def test_expert_goes_where_the_instruction_says():
    expert = make_policy("expert")
    ways = {}
    for sentence in ("put the carrot on the plate", " Put the  spoon on the towel. "):
        expert.reset(sentence)
        ways[sentence] = expert.act(arm(), SCENE)
        assert ways[sentence].shape == (7,)
    carrot, spoon = ways.values()
    assert not np.allclose(carrot, spoon)


def test_expert_says_what_it_cannot_do():
    expert = make_policy("expert")
    expert.reset("make coffee")
    with pytest.raises(CannotActError, match=r"make coffee.*put the carrot on the plate"):
        expert.act(arm(), SCENE)
    expert.reset("put the carrot on the plate")
    with pytest.raises(CannotActError, match=r"'plate'|'carrot'"):
        expert.act(arm(), {"carrot": SCENE["carrot"]})
    assert np.isfinite(expert.act(arm(), SCENE)).all()


def test_expert_tells_suites_that_share_a_sentence_apart_by_their_objects():
    expert = make_policy("expert")
    expert.reset("put the spoon on the towel")
    bridge = {
        "bridge_spoon_generated_modified": (np.array([0.38, 0.1, 0.01]), UNIT),
        "table_cloth_generated_shorter": (np.array([0.23, 0.1, 0.005]), UNIT),
    }
    ours, theirs = expert.act(arm(), SCENE), expert.act(arm(), bridge)
    assert not np.allclose(ours, theirs)
    with pytest.raises(CannotActError, match="spoon and towel or bridge_spoon_generated_modified and table_cloth"):
        expert.act(arm(), {})


def test_baselines():
    hold = make_policy("hold")
    hold.reset("anything")
    np.testing.assert_array_equal(hold.act(arm(gripper_target=0.3), {}), [0, 0, 0, 0, 0, 0, 0.3])
    first, second = make_policy("random", 1), make_policy("random", 1)
    for _ in range(50):
        action = first.act(arm(), {})
        np.testing.assert_array_equal(action, second.act(arm(), {}))
        assert np.abs(action[:3]).max() <= 0.02 and np.abs(action[3:6]).max() <= 0.1 and action[6] in (0.0, 1.0)
    with pytest.raises(ValueError, match="expert"):
        make_policy("oracle")


def test_parts_of_one_instant_meet_in_any_order():
    parts = [
        lambda world: world.add_state(arm(5)),
        lambda world: world.add_poses(5, SCENE),
        lambda world: world.add_frame(5),
    ]
    for order in [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)]:
        world = MatchedWorld()
        for k in order[:-1]:
            parts[k](world)
            assert world.take() is None
        parts[order[-1]](world)
        state, poses = world.take()
        assert state.stamp_ns == 5 and set(poses) == set(SCENE)
        assert world.take() is None, "once"


def test_parts_of_different_instants_do_not_meet_and_old_ones_go():
    world = MatchedWorld()
    world.add_state(arm(1))
    world.add_poses(2, SCENE)
    world.add_frame(2)
    assert world.take() is None
    world.add_state(arm(2))
    world.add_frame(3)
    assert world.take() is None, "the newest frame sets the pace"
    for stamp in range(10, 10 + KEPT):
        world.add_poses(stamp, {"carrot": SCENE["carrot"]})
    world.add_poses(25, {"plate": SCENE["plate"]})
    world.add_state(arm(25))
    world.add_frame(25)
    assert set(world.take()[1]) == {"carrot", "plate"}
