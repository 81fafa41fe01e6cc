"""Joints without ends, joints that follow others, and joints of the robot that are not the arm's."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from arm_builders import BOX, PERIOD_S, panda, panda_description
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_contracts.errors import ConfigError
from magma_contracts.geometry.rotations import matrix_from_axis_angle
from magma_control.motion.arm_motion import ArmMotion
from magma_control.motion.kinematics import Kinematics
from magma_control.robots.robot_config import RobotConfig
from magma_control.robots.robot_description import RobotDescription

INERTIAL = '<inertial><mass value="1"/><inertia ixx="0.1" iyy="0.1" izz="0.1" ixy="0" ixz="0" iyz="0"/></inertial>'
SHAPE = '<collision><origin xyz="0 0 0.1"/><geometry><box size="0.05 0.05 0.18"/></geometry></collision>'
LIMIT = '<limit lower="-2.9" upper="2.9" effort="10" velocity="2"/>'
AXES = ("0 0 1", "0 1 0", "0 1 0", "1 0 0", "0 1 0", "0 0 1")
HOME = (0.3, 0.5, 1.0, 0.2, 0.5, 0.1)


def link(name, shape=SHAPE):
    return f'<link name="{name}">{INERTIAL}{shape}</link>'


def joint(name, kind, parent, child, axis="0 0 1", origin="0 0 0", limit=LIMIT, more=""):
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{origin}"/><axis xyz="{axis}"/>{limit}{more}</joint>'
    )


def arm(parent, prefix="", first="0 0 0.1", endless=()):
    parts = []
    for index, axis in enumerate(AXES, 1):
        kind = "continuous" if index in endless else "revolute"
        limit = "" if index in endless else LIMIT
        parts.append(link(f"{prefix}link{index}"))
        origin = first if index == 1 else "0 0 0.22"
        parts.append(joint(f"{prefix}joint{index}", kind, parent, f"{prefix}link{index}", axis, origin, limit))
        parent = f"{prefix}link{index}"
    parts.append(
        link(f"{prefix}tool", "") + joint(f"{prefix}mount", "fixed", parent, f"{prefix}tool", origin="0 0 0.2")
    )
    return "".join(parts)


def robot(*parts):
    return '<robot name="test">' + "".join(parts) + "</robot>"


def config(prefix="", **sections):
    joints = {"names": [f"{prefix}joint{index}" for index in range(1, 7)], "home": list(HOME)}
    return RobotConfig.from_mapping(
        {
            "name": "test",
            "frames": {"base": "base_link", "tool": f"{prefix}tool"},
            **sections,
            "joints": {**joints, **sections.get("joints", {})},
        }
    )


def made(urdf, prefix="", table=None, **sections):
    return Kinematics(config(prefix, **sections), RobotDescription(urdf), table)


PLAIN = robot(link("base_link", ""), arm("base_link"))
LIFT = robot(
    link("base_link", ""), link("lift", ""), joint("lift_joint", "prismatic", "base_link", "lift"), arm("lift")
)
BARE = made(PLAIN)


class TestLift:
    def test_the_tool_is_where_the_lift_carries_it(self):
        kinematics = made(LIFT)
        q = np.array(HOME)
        for height in (0.0, 0.4, -0.1, 0.4):
            kinematics.place_others({"lift_joint": height})
            position, rotation = kinematics.forward(q)
            assert position == pytest.approx(BARE.forward(q)[0] + np.array([0, 0, height]), abs=1e-9)
            assert rotation == pytest.approx(BARE.forward(q)[1], abs=1e-9)
            assert kinematics.jacobian(q) == pytest.approx(BARE.jacobian(q), abs=1e-9)

    def test_inverse_kinematics_goes_to_where_forward_kinematics_is(self):
        kinematics = made(LIFT)
        kinematics.place_others({"lift_joint": 0.4})
        q = np.array(HOME)
        wanted = kinematics.forward(q + 0.1)
        for _ in range(200):
            q = q + PERIOD_S * kinematics.step(q, *wanted, PERIOD_S).velocity
        assert kinematics.forward(q)[0] == pytest.approx(wanted[0], abs=1e-4)

    def test_what_was_never_reported_is_unknown_and_named_with_two_ways_out(self):
        kinematics = made(LIFT)
        refusal = kinematics.refuse_others({})
        assert "lift_joint is not reported" in refusal.text and "where the tool is" in refusal.text
        assert "joint_states" in refusal.text and "joints.unreported" in refusal.text
        assert kinematics.refuse_others({"lift_joint": 0.0}) is None

    def test_a_place_that_nobody_reports_may_be_written_down(self):
        kinematics = made(LIFT, joints={"unreported": ["lift_joint 0.25"]})
        assert kinematics.refuse_others({}) is None
        assert kinematics.forward(np.array(HOME))[0][2] == pytest.approx(BARE.forward(np.array(HOME))[0][2] + 0.25)

    @pytest.mark.parametrize(
        ("entry", "message"),
        [("lift_joint", "not a joint's name and its position"), ("lift_joint high", "its position"),
         ("elbow 0.1", "names 'elbow', which is no joint beside the arm's; there are lift_joint"),
         ("joint1 0.1", "names 'joint1'"), ("lift_joint nan", "its position")],
    )  # fmt: skip
    def test_a_place_that_cannot_be(self, entry, message):
        with pytest.raises(ConfigError, match=message):
            made(LIFT, joints={"unreported": [entry]})

    def test_noise_moves_nothing_and_a_motion_is_told(self):
        kinematics = made(LIFT)
        assert kinematics.place_others({"lift_joint": 0.3}) == "lift_joint"
        assert kinematics.place_others({"lift_joint": 0.3001}) is None
        assert kinematics.place_others({}) is None

    def test_a_base_link_that_rides_on_the_lift_needs_no_report(self):
        above = robot(
            link("floor", ""), link("base_link", ""), joint("lift_joint", "prismatic", "floor", "base_link"),
            arm("base_link"),
        )  # fmt: skip
        kinematics = made(above)
        assert kinematics.refuse_others({}) is None
        kinematics.place_others({"lift_joint": 0.4})
        assert kinematics.forward(np.array(HOME))[0] == pytest.approx(BARE.forward(np.array(HOME))[0])

    def test_the_table_of_the_collision_check_stays_at_its_height_in_the_base_frame(self):
        kinematics = made(LIFT, table=0.35, collision={"links_above_table": ["link3"]})
        low = np.array([0.0, 1.9, 0.0, 0.0, 0.0, 0.0])
        kinematics.place_others({"lift_joint": 0.0})
        assert "table" in str(kinematics.collision(low))
        kinematics.place_others({"lift_joint": 0.5})
        assert kinematics.collision(low) is None

    def test_a_platform_that_joint_states_cannot_tell_is_refused(self):
        urdf = LIFT.replace('type="prismatic"', 'type="planar"')
        with pytest.raises(ConfigError, match=r"lift_joint .planar or floating. lies between base_link"):
            made(urdf)


TWO = robot(link("base_link", ""), arm("base_link", "left_", "0 0.2 0.1"), arm("base_link", "right_", "0 -0.2 0.1"))
RIGHT = [f"right_joint{index}" for index in range(1, 7)]


class TestSecondArm:
    def test_contacts_are_those_of_both_arms_where_they_are(self):
        import pinocchio as pin

        kinematics = made(TWO, "left_")
        model = pin.buildModelFromXML(TWO)
        random = np.random.default_rng(5)
        seen = set()
        for _ in range(12):
            # They lean towards each other.
            left, right = (random.uniform(-0.4, 0.4, 6) + np.array([yaw, 0.4, 0, 0, 0, 0]) for yaw in (-1.57, 1.57))
            kinematics.place_others(dict(zip(RIGHT, right, strict=True)))
            both = np.zeros(model.nq)
            for names, values in (([f"left_joint{k}" for k in range(1, 7)], left), (RIGHT, right)):
                for name, value in zip(names, values, strict=True):
                    both[model.joints[model.getJointId(name)].idx_q] = value
            pairs = kinematics.contacts(left)
            between = {pair for pair in pairs if "right" in pair and "left" in pair}
            assert between == self.touching(pin, model, both, kinematics)
            assert not any(pair.count("right_") == 2 for pair in pairs), "not this arm's business"
            seen |= between
        assert seen

    @staticmethod
    def touching(pin, model, q, kinematics):
        """Of the same library, with all joints of both arms in one model."""
        if not hasattr(TestSecondArm, "geometry"):
            import tempfile
            from pathlib import Path

            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "two.urdf")
                path.write_text(TWO)
                TestSecondArm.geometry = pin.buildGeomFromUrdf(model, str(path), pin.GeometryType.COLLISION)
            TestSecondArm.geometry.addAllCollisionPairs()
        geometry = TestSecondArm.geometry
        data, results = model.createData(), geometry.createData()
        for request in results.collisionRequests:
            request.security_margin = config().collision.margin_m
        pin.computeCollisions(model, data, geometry, results, q, False)
        found = set()
        for index, pair in enumerate(geometry.collisionPairs):
            names = [
                model.frames[geometry.geometryObjects[item].parentFrame].name for item in (pair.first, pair.second)
            ]
            if results.collisionResults[index].isCollision() and names[0][:4] != names[1][:4]:
                found.add(" and ".join(names))
        return found

    def test_where_it_is_must_be_known(self):
        kinematics = made(TWO, "left_")
        refusal = kinematics.refuse_others({name: 0.0 for name in RIGHT[:3]})
        assert "right_joint4 is not reported" in refusal.text and "what the arm could touch" in refusal.text
        assert kinematics.refuse_others(dict.fromkeys(RIGHT, 0.0)) is None
        unchecked = made(TWO, "left_", collision={"enabled": False})
        assert unchecked.refuse_others({}) is None


FINGER = joint("finger", "prismatic", "tool", "finger_link", "0 1 0") + link("finger_link")
FOLLOWER = link("thumb_link") + joint(
    "thumb", "prismatic", "tool", "thumb_link", "0 1 0", more='<mimic joint="finger" multiplier="-1" offset="0.01"/>'
)
HAND = robot(link("base_link", ""), arm("base_link"), FINGER, FOLLOWER)


class TestFollowingJoints:
    def test_a_finger_that_follows_another_is_where_that_one_takes_it(self):
        kinematics = made(HAND)
        places = {}
        for name, reported in (("together", {"finger": 0.03}), ("both", {"finger": 0.03, "thumb": -0.02})):
            kinematics.place_others(reported)
            places[name] = [np.array(item.placement.translation) for item in kinematics._geometry.geometryObjects]
        assert np.array(places["together"]) == pytest.approx(np.array(places["both"]))
        kinematics.place_others({"finger": 0.0})
        moved = [np.array(item.placement.translation) for item in kinematics._geometry.geometryObjects]
        apart = np.linalg.norm(np.array(moved) - np.array(places["both"]), axis=1)
        assert np.sort(apart)[-2:] == pytest.approx([0.03, 0.03])

    def test_fingers_that_nobody_reports_keep_nobody_from_moving(self):
        assert made(HAND).refuse_others({}) is None

    def test_a_lift_of_two_stages_is_known_by_its_first(self):
        stages = robot(
            link("base_link", ""), link("one", ""), link("two", ""),
            joint("first", "prismatic", "base_link", "one"),
            joint("second", "prismatic", "one", "two", more='<mimic joint="first" multiplier="0.5"/>'),
            arm("two"),
        )  # fmt: skip
        kinematics = made(stages)
        assert "first" in kinematics.refuse_others({}).text
        assert kinematics.refuse_others({"first": 0.2}) is None
        kinematics.place_others({"first": 0.2})
        assert kinematics.forward(np.array(HOME))[0][2] == pytest.approx(BARE.forward(np.array(HOME))[0][2] + 0.3)

    def test_a_joint_of_the_arm_that_follows_another_cannot_be_driven(self):
        urdf = re.sub(r'(<joint name="joint3".*?)</joint>', r'\1<mimic joint="joint2"/></joint>', PLAIN)
        with pytest.raises(ConfigError, match=r"joint joint3 follows joint2 .mimic.*leave it out of joints.names"):
            made(urdf)

    def test_a_linkage_of_the_arm_is_refused_with_the_way_out(self):
        urdf = HAND.replace('<mimic joint="finger"', '<mimic joint="joint2"')
        with pytest.raises(ConfigError, match=r"joint thumb follows joint2 .mimic.*make thumb a fixed joint"):
            made(urdf)


ENDLESS = robot(link("base_link", ""), arm("base_link", endless=(1, 4, 6)))


class TestJointsWithoutEnds:
    def test_they_have_no_range_and_the_others_keep_theirs(self):
        kinematics = made(ENDLESS)
        assert kinematics.continuous.tolist() == [True, False, False, True, False, True]
        assert np.isinf(kinematics.lower[[0, 3, 5]]).all() and np.isfinite(kinematics.lower[[1, 2, 4]]).all()

    @settings(max_examples=30, deadline=None)
    @given(turns=st.lists(st.integers(-20, 20), min_size=3, max_size=3))
    def test_whole_turns_change_nothing(self, turns):
        q = np.array(HOME)
        turned = q.copy()
        turned[[0, 3, 5]] += 2 * np.pi * np.array(turns)
        assert ENDLESS_KINEMATICS.forward(turned)[0] == pytest.approx(ENDLESS_KINEMATICS.forward(q)[0], abs=1e-9)
        assert ENDLESS_KINEMATICS.forward(turned)[0] == pytest.approx(BARE.forward(q)[0], abs=1e-9)
        assert ENDLESS_KINEMATICS.nearest_turn(turned, q) == pytest.approx(q, abs=1e-9)

    def test_the_comfortable_posture_is_never_a_whole_turn_away(self):
        kinematics = made(ENDLESS)
        q = np.array(HOME)
        q[[0, 3, 5]] += 2 * np.pi * np.array([3, -2, 1])
        kinematics.widen_ranges(q)
        position, rotation = kinematics.forward(q)
        assert np.abs(kinematics.step(q, position, rotation, PERIOD_S).velocity).max() < 1e-6

    @pytest.mark.parametrize("wrapped", [True, False])
    def test_an_arm_that_turns_past_half_a_turn_is_followed_however_it_reports_that(self, wrapped):
        kinematics = made(ENDLESS)
        box = dataclasses.replace(BOX, workspace_min_m=(-2, -2, -2), workspace_max_m=(2, 2, 2), table_height_m=-2.0)
        motion = ArmMotion(config(), kinematics, box, PERIOD_S)
        start = np.array(HOME)
        start[0] = 3.0
        assert motion.sync(start, 1.0) is None
        seconds, turn = 0.0, 0.03
        for _ in range(12):
            position, _ = kinematics.forward(motion.state.position)
            aside = matrix_from_axis_angle(np.array([0.0, 0.0, turn])) @ position - position
            motion.move(np.array([*aside, 0, 0, turn, 1.0]), 0.2)
            for _ in range(30):
                seconds += PERIOD_S
                reported = motion.tick().position
                if wrapped:
                    reported = (reported + np.pi) % (2 * np.pi) - np.pi
                assert motion.on_measured(reported, seconds, 1.0) is None
        assert motion.state.position[0] > np.pi + 0.1
        assert not motion.counts["joint state jumped"] and motion.doubt is None

    def test_speeds_are_limited_as_for_others(self):
        kinematics = made(ENDLESS, joints={"max_velocity": [0.7]})
        assert kinematics.max_velocity.tolist() == [0.7] * 6


ENDLESS_KINEMATICS = made(ENDLESS)


def test_the_panda_s_fingers_are_the_only_other_joints_and_need_no_report():
    kinematics = Kinematics(panda(), panda_description())
    assert kinematics.other_joints == ("panda_finger_joint1", "panda_finger_joint2")
    assert kinematics.refuse_others({}) is None
    home = np.array(panda().joints.home)
    before = kinematics.forward(home)[0]
    assert kinematics.place_others({"panda_finger_joint1": 0.04}) is None
    assert np.array_equal(kinematics.forward(home)[0], before)


def test_a_joint_that_moves_in_more_than_one_way_cannot_be_driven():
    urdf = re.sub(r'<joint name="joint3" type="revolute">', '<joint name="joint3" type="planar">', PLAIN)
    with pytest.raises(ConfigError, match="joint joint3 moves in more than one way"):
        made(urdf)
