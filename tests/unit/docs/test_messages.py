"""The messages that the troubleshooting page quotes are those that the code says."""

from __future__ import annotations

import ast
import functools
import re

import pytest
from pages import text_of, tracked

PAGE = "docs/troubleshooting.md"
PLACES = ("policy/", "sim/", "ros2_ws/src/", "ros2_ws/rclpy_dds/rclpy_dds/", "launch/", "setup/")


def quoted() -> list[str]:
    """The first column of the page's tables of messages."""
    found = []
    for table in re.findall(r"^\| message \|.*\n\|[-|]+\n((?:\|.*\n)+)", text_of(PAGE), re.MULTILINE):
        found += [re.split(r"(?<!\\) \| ", row)[0].removeprefix("| ").strip() for row in table.splitlines()]
    return found


@functools.cache
def said() -> tuple[str, ...]:
    """Every text in the code: of Python the literals, whole where they are written in pieces, of shell files all."""
    found = []
    for name in sorted(tracked()):
        if name == "run" or (name.startswith(PLACES) and name.endswith(".sh")):
            found.append(text_of(name))
        elif name.startswith(PLACES) and name.endswith(".py"):
            tree = ast.parse(text_of(name))
            found += [literal(node) for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.Constant))]
    return tuple(text for text in found if len(text) > 8)


def literal(node: ast.JoinedStr | ast.Constant) -> str:
    """A text as it is written, with a zero for every value that is put in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)


def is_said(message: str) -> bool:
    """Whether some text in the code has the quoted pieces, in their order and with a value where the page has `…`."""
    pieces = [re.escape(piece) for piece in message.strip("…").split("…")]
    pattern = re.compile(".{0,200}?".join(pieces), re.DOTALL)
    return any(pattern.search(text) for text in said())


@pytest.mark.parametrize("cell", quoted())
def test_a_quoted_message_is_in_the_code(cell):
    message = re.fullmatch(r"`([^`]+)`", cell)
    assert message is not None, f"{cell} is not one message"
    longest = max(len(piece) for piece in message[1].split("…"))
    assert longest > 10, f"{message[1]} says too little to be found"
    assert is_said(message[1]), f"nothing says {message[1]!r} any more"


def test_there_are_messages_and_one_that_nobody_says_is_found():
    assert len(quoted()) > 40
    assert is_said("no python3 between 3.10 and 3.12 found")
    assert not is_said("the moon is … too far away for this arm")
