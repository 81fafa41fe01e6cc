"""What a URDF says about its joints that the kinematics library does not keep: joints without ends, and joints that
follow others."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass

ONE_TURN_AND_MORE = "1e6"
"""rad: the ends that a joint without ends gets in the text; whoever reads the model takes them away again."""


@dataclass(frozen=True)
class Mimic:
    """A joint's position is multiplier times that of another joint, plus an offset."""

    joint: str
    multiplier: float
    offset: float


@dataclass(frozen=True)
class UrdfJoints:
    """The joints of one description."""

    urdf: str
    """the text with joints without ends as revolute ones, so that every joint is one number, whole turns included"""
    continuous: frozenset[str]
    mimics: Mapping[str, Mimic]


def read_joints(urdf: str) -> UrdfJoints:
    """Reads the joints of a URDF that `check_urdf` has let pass."""
    root = ElementTree.fromstring(urdf)
    continuous, mimics = set(), {}
    for joint in root.findall("joint"):
        name = joint.get("name", "")
        if joint.get("type") == "continuous":
            continuous.add(name)
            joint.set("type", "revolute")
            limit = joint.find("limit")
            if limit is None:
                limit = ElementTree.SubElement(joint, "limit", effort="0", velocity="0")
            limit.set("lower", f"-{ONE_TURN_AND_MORE}")
            limit.set("upper", ONE_TURN_AND_MORE)
        mimic = joint.find("mimic")
        if mimic is not None:
            multiplier, offset = float(mimic.get("multiplier", "1")), float(mimic.get("offset", "0"))
            mimics[name] = Mimic(mimic.get("joint", ""), multiplier, offset)
    text = ElementTree.tostring(root, encoding="unicode") if continuous else urdf
    return UrdfJoints(text, frozenset(continuous), mimics)
