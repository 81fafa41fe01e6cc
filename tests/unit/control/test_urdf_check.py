"""URDFs of strangers: refused in one sentence before C++ sees them."""

from __future__ import annotations

import pytest
from arm_builders import panda_description

from magma_contracts.errors import ConfigError
from magma_control.motion.kinematics import Kinematics
from magma_control.robots.robot_config import DescriptionSection, RobotConfig
from magma_control.robots.robot_description import description_from_text, read_description
from magma_control.robots.urdf_check import MOST_PARTS, check_urdf


def urdf(extra: str = "", *, box: str = "0.1 0.1 0.1", limit: str = 'lower="-1" upper="1"', child: str = "b") -> str:
    return f"""<?xml version="1.0"?><robot name="r"><link name="a"/>
    <link name="b"><collision><geometry><box size="{box}"/></geometry></collision></link>
    <joint name="j" type="revolute"><parent link="a"/><child link="{child}"/><axis xyz="0 0 1"/>
    <limit {limit} effort="1" velocity="1"/></joint>{extra}</robot>"""


def link(name: str, parent: str, joint: str, inside: str = "") -> str:
    joint = f'<joint name="{joint}" type="fixed"><parent link="{parent}"/><child link="{name}"/>{inside}</joint>'
    return f'<link name="{name}"/>{joint}'


def test_arms_pass_with_what_simulators_and_drivers_add() -> None:
    check_urdf(panda_description().urdf)
    check_urdf(
        urdf(link("c", "b", "k") + '<gazebo><sensor><box size="many" /></sensor></gazebo><transmission name="j"/>')
    )


@pytest.mark.parametrize(
    "text, said",
    [
        ("<robot", "not XML"),
        ("<sdf/>", "'sdf', not with robot"),
        ('<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + urdf().split("?>")[1], "DOCTYPE"),
        (urdf("<a>" * 100 + "</a>" * 100), "nested deeper"),
        (urdf(child="a"), "loop"),
        (urdf(child="nowhere"), "'nowhere', which is not there"),
        (urdf('<link name="b"/>'), "two links of the name 'b'"),
        (urdf(link("c", "a", "j")), "two joints of the name 'j'"),
        (
            urdf(link("b2", "b", "k") + '<joint name="l" type="fixed"><parent link="a"/><child link="b2"/></joint>'),
            "tree",
        ),
        (urdf('<link name="alone"/>'), "2 links that no joint moves"),
        (urdf(link("c", "d", "k") + link("d", "c", "l")), "form a loop"),
        (urdf('<joint name="k" type="fixed"><parent link="a"/></joint>'), "no parent or no child"),
        (urdf('<link name="&#27;[2J"/>'), "no|XML"),
        (urdf(link("c", "b", "k", '<mimic joint="k"/>')), "follows 'k'"),
        (urdf(box="nan 1 1"), "size='nan 1 1'; it takes 3 finite numbers"),
        (urdf(box="1 1"), "3 finite numbers"),
        (urdf(box="1 0 1"), "above 0"),
        (urdf(box="1e5 1 1"), "farther than 1 km"),
        (urdf(limit='lower="-inf" upper="1"'), "finite number"),
        (urdf().replace('axis xyz="0 0 1"', 'axis xyz="0 0 0"'), "axis 0 0 0"),
    ],
)
def test_what_is_no_arm_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        check_urdf(text)
    assert str(refused.value).isprintable()


def test_a_chain_as_long_as_no_arm_ends_in_a_sentence_not_in_the_libraries_recursion() -> None:
    chain = "".join(link(f"l{n}", f"l{n - 1}" if n else "b", f"k{n}") for n in range(20 * MOST_PARTS))
    with pytest.raises(ConfigError, match="too many for an arm"):
        check_urdf(urdf(chain))


@pytest.mark.parametrize("source", ["module://this.x/y", "module://../../etc/passwd", "module://magma_control//etc/passwd",
                                    "module://magma_control/../../../../../../etc/passwd"])  # fmt: skip
def test_a_package_is_found_without_running_anything_and_not_left(source: str, capsys) -> None:
    with pytest.raises(ConfigError, match="top-level Python package and a file within it"):
        read_description(DescriptionSection(source=source))
    assert capsys.readouterr().out == ""


def test_a_link_may_have_the_name_of_a_joint_but_not_the_tool():
    robot = RobotConfig.from_mapping(
        {"name": "r", "frames": {"base": "a", "tool": "b"}, "joints": {"names": ["j"], "home": [0.0]}}
    )

    def arm(text: str) -> Kinematics:
        return Kinematics(robot, description_from_text(text, robot.description), 0.0)

    assert arm(urdf(link("k", "b", "a"))).joints == 1
    with pytest.raises(ConfigError, match="calls a joint 'b' like the tool's link"):
        arm(urdf(link("c", "b", "b")))
