"""Looks at a URDF before libraries in C++ do: these recurse along the arm, and pass over what they cannot read.

A description comes from a file of a stranger's, or from whoever publishes on /robot_description. What is refused here:
document types and entities; more parts than an arm has; names that stand twice or are no plain text; links that are no
tree; numbers that are missing, not finite or absurd. The last matters most: a box of size "nan" would otherwise be left
out of the collision check without a word.
"""

from __future__ import annotations

import math
from xml.parsers import expat

from magma_contracts.errors import ConfigError
from magma_contracts.text import brief, listed, printable

LARGEST_BYTES = 8 << 20
MOST_ELEMENTS = 100_000
DEEPEST = 64
MOST_PARTS = 1000
"""Links, and joints; a humanoid with hands has about a hundred."""
_LENGTHS = {"xyz": 3, "rpy": 3, "size": 3, "scale": 3}
_NUMBERS = frozenset(
    {"radius", "length", "lower", "upper", "velocity", "effort", "mass", "multiplier", "offset", "damping", "friction"}
    | {"ixx", "ixy", "ixz", "iyy", "iyz", "izz", "k_position", "k_velocity", "soft_lower_limit", "soft_upper_limit"}
)
_POSITIVE = frozenset({("box", "size"), ("cylinder", "radius"), ("cylinder", "length"), ("sphere", "radius")})
_LARGEST_M = 1000.0
_LARGEST = 1e9


def check_urdf(urdf: str) -> None:
    """Raises ConfigError, one sentence, for a text that is no URDF of an arm."""
    data = urdf.encode("utf-8", "replace")
    if len(data) > LARGEST_BYTES:
        raise ConfigError(f"the URDF has {len(data) >> 20} MiB; at most {LARGEST_BYTES >> 20} are read")
    reader = _Reader()
    try:
        reader.parse(data)
    except expat.ExpatError as error:
        raise ConfigError(printable(f"the URDF cannot be read: it is not XML: {error}")) from None
    reader.check_tree()


class _Reader:
    """Collects links and joints, element by element."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._elements = 0
        self._links: set[str] = set()
        self._joints: set[str] = set()
        self._parents: dict[str, str] = {}
        """joint -> its parent link"""
        self._children: dict[str, str] = {}
        self._leaders: dict[str, str] = {}
        """joint -> the joint that it follows"""
        self._joint = ""

    def parse(self, data: bytes) -> None:
        parser = expat.ParserCreate("utf-8")
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.Parse(data, True)

    def check_tree(self) -> None:
        """One root, and every link reached from it over joints, none twice."""
        if not self._links:
            raise ConfigError("the URDF has no link")
        above: dict[str, str] = {}
        for joint in sorted(self._joints):
            if joint not in self._parents or joint not in self._children:
                raise ConfigError(f"the URDF's joint {brief(joint)} has no parent or no child")
            parent, child = self._parents[joint], self._children[joint]
            for link in (parent, child):
                if link not in self._links:
                    raise ConfigError(
                        f"the URDF's joint {brief(joint)} names the link {brief(link)}, which is not there"
                    )
            if child in above:
                raise ConfigError(f"the URDF moves the link {brief(child)} by two joints; an arm is a tree")
            above[child] = parent
        for joint, leader in self._leaders.items():
            if leader not in self._joints or leader == joint or leader in self._leaders:
                raise ConfigError(
                    f"the URDF's joint {brief(joint)} follows {brief(leader)}, which is no joint of its own"
                )
        roots = self._links - above.keys()
        if len(roots) != 1:
            names = f": {listed(sorted(roots))}" if roots else "; they form a loop"
            raise ConfigError(f"the URDF has {len(roots)} links that no joint moves, an arm has one{names}")
        # With one root, a link that does not lead to it hangs in a loop of its own.
        reached = set(roots)
        for link in self._links:
            way = []
            while link not in reached:
                way.append(link)
                if len(way) > len(self._links):
                    raise ConfigError(f"the URDF's links form a loop at {brief(link)}; an arm is a tree")
                link = above[link]
            reached.update(way)

    def _doctype(self, name: str, *_: object) -> None:
        raise ConfigError("the URDF has a document type (DOCTYPE), which URDFs do not need and which may hide anything")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MOST_ELEMENTS or len(self._path) >= DEEPEST:
            raise ConfigError(
                f"the URDF has more than {MOST_ELEMENTS} elements, or they are nested deeper than {DEEPEST}"
            )
        self._path.append(tag)
        if len(self._path) == 1 and tag != "robot":
            raise ConfigError(f"the text is no URDF: it begins with the element {brief(tag)}, not with robot")
        if len(self._path) < 2 or self._path[1] not in ("link", "joint"):
            return  # what simulators and drivers add is theirs
        if len(self._path) == 2:
            self._part(tag, attributes)
        elif self._path[1] == "joint" and len(self._path) == 3 and tag in ("parent", "child"):
            known = self._parents if tag == "parent" else self._children
            known[self._joint] = attributes.get("link", "")
        elif self._path[1] == "joint" and tag == "mimic":
            self._leaders[self._joint] = attributes.get("joint", "")
        self._check_numbers(tag, attributes)

    def _end(self, tag: str) -> None:
        del tag
        self._path.pop()

    def _part(self, tag: str, attributes: dict[str, str]) -> None:
        name = attributes.get("name", "")
        if not name.strip() or not name.isprintable() or len(name) > 200:
            raise ConfigError(
                f"the URDF has a {tag} whose name is no plain text of at most 200 characters: {brief(name)}"
            )
        known = self._links if tag == "link" else self._joints
        if name in known:
            raise ConfigError(f"the URDF has two {tag}s of the name {brief(name)}")
        known.add(name)
        if len(known) > MOST_PARTS:
            raise ConfigError(f"the URDF has more than {MOST_PARTS} {tag}s, too many for an arm")
        self._joint = name if tag == "joint" else ""

    def _check_numbers(self, tag: str, attributes: dict[str, str]) -> None:
        for name, text in attributes.items():
            if name not in _LENGTHS and name not in _NUMBERS and (tag, name) != ("mass", "value"):
                continue
            words = text.split()
            try:
                values = [float(word) for word in words]
            except ValueError:
                values = []
            wanted = _LENGTHS.get(name, 1)
            if len(values) != wanted or not all(math.isfinite(value) and abs(value) <= _LARGEST for value in values):
                numbers = "a finite number" if wanted == 1 else f"{wanted} finite numbers"
                raise ConfigError(f"the URDF's {'/'.join(self._path[1:])} has {name}={brief(text)}; it takes {numbers}")
            if name in ("xyz", "size", "radius", "length") and max(map(abs, values)) > _LARGEST_M:
                raise ConfigError(f"the URDF's {'/'.join(self._path[1:])} has {name}={brief(text)}, farther than 1 km")
            if (tag, name) in _POSITIVE and min(values) <= 0.0:
                raise ConfigError(f"the URDF's {'/'.join(self._path[1:])} has {name}={brief(text)}; it must be above 0")
        if tag == "axis" and "xyz" in attributes and not any(float(word) for word in attributes["xyz"].split()):
            raise ConfigError(f"the URDF's joint {brief(self._joint)} turns about the axis 0 0 0")
