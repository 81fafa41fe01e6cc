"""The lines of an arm from its description: against geometry by hand, and against the kinematics library."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from magma_console.robot.arm_model import ArmModel
from magma_contracts.errors import ConfigError
from magma_control.robots.robot_config import load_robot
from magma_control.robots.robot_description import read_description


def joint(name, kind, parent, child, xyz="0 0 0", rpy="0 0 0", axis="0 0 1", more=""):
    limit = '<limit lower="-3" upper="3" effort="1" velocity="1"/>'
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{xyz}" rpy="{rpy}"/><axis xyz="{axis}"/>{limit}{more}</joint>'
    )


def robot(*joints):
    links = sorted({part.split('"')[0] for text in joints for part in text.split('link="')[1:]})
    parts = [f'<link name="{link}"/>' for link in links]
    return f'<robot name="r">{"".join([*parts, *joints])}</robot>'


ARM = robot(
    joint("lift", "prismatic", "world", "a", "0 0 0.1"),
    joint("turn", "revolute", "a", "b", "0.5 0 0"),
    joint("tip", "fixed", "b", "c", "0.2 0 0"),
    joint("finger", "revolute", "b", "d", "0 0.1 0", more='<mimic joint="turn" multiplier="-1" offset="0.5"/>'),
    joint("nail", "fixed", "d", "e", "0.1 0 0"),
)


def test_lines_follow_the_joints():
    model = ArmModel(ARM)
    assert model.names == {"lift", "turn", "finger"}
    still = model.lines({})
    assert still[:3] == [[0, 0, 0, 0, 0, 0.1], [0, 0, 0.1, 0.5, 0, 0.1], [0.5, 0, 0.1, 0.7, 0, 0.1]]
    moved = model.lines({"lift": 0.2, "turn": np.pi / 2})
    assert moved[2] == pytest.approx([0.5, 0, 0.3, 0.5, 0.2, 0.3], abs=1e-3)
    # The finger turns the other way and half a radian ahead, from where the turned link holds it.
    nail = moved[4]
    assert nail[:3] == pytest.approx([0.4, 0.0, 0.3], abs=1e-3)
    assert np.arctan2(nail[4] - nail[1], nail[3] - nail[0]) == pytest.approx(0.5, abs=2e-3)
    in_b = ArmModel(ARM, "b").lines({"lift": 0.2, "turn": 1.0})
    assert in_b[2] == pytest.approx([0, 0, 0, 0.2, 0, 0], abs=1e-3)
    assert model.lines({"turn": float("nan")})[:4] == still[:4]


def test_an_origin_turns_about_fixed_axes_first_x_then_y_then_z():
    text = robot(joint("one", "fixed", "w", "a", rpy="1.5707963 0 1.5707963"), joint("two", "fixed", "a", "b", "0 1 0"))
    # y goes up by the turn about x, and stays up by the one about z.
    assert ArmModel(text).lines({})[0] == pytest.approx([0, 0, 0, 0, 0, 1], abs=1e-3)


def test_a_real_arm_stands_as_the_kinematics_library_says():
    pinocchio = pytest.importorskip("pinocchio")
    # Its description is in ManiSkill's wheel; to import that takes long and is not needed.
    if importlib.util.find_spec("mani_skill") is None:
        pytest.skip("the Panda's description is in the wheel of mani_skill")
    config = load_robot("panda")
    urdf = read_description(config.description).urdf
    model, library = ArmModel(urdf, config.frames.base), pinocchio.buildModelFromXML(urdf)
    rng = np.random.default_rng(0)
    for _ in range(5):
        at = rng.uniform(-1.0, 1.0, library.nq)
        data = library.createData()
        pinocchio.framesForwardKinematics(library, data, at)
        lines = model.lines(dict(zip(list(library.names)[1:], at, strict=True)))
        for name in ("panda_link4", "panda_link7", "panda_hand"):
            place = data.oMf[library.getFrameId(name)].translation
            assert min(np.abs(np.array(line[3:]) - place).max() for line in lines) < 2e-3, name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<robot>",
        "<robot name='r'/>" * 2,
        '<!DOCTYPE r [<!ENTITY a "b">]><robot name="r"/>',
        robot(joint("one", "revolute", "w", "a", "0 0")),
        robot(joint("one", "revolute", "w", "a", "0 0 nan")),
        robot(*(joint(f"j{number}", "fixed", f"l{number}", f"l{number + 1}") for number in range(300))),
    ],
)
def test_what_is_no_description_is_refused_in_a_sentence(text):
    with pytest.raises(ConfigError):
        ArmModel(text)


def test_a_base_that_is_no_link_is_refused():
    with pytest.raises(ConfigError, match="no link 'base'"):
        ArmModel(ARM, "base")
