"""A misspelt argument of a launch file is told; ROS 2's own launch drops it."""

from __future__ import annotations

import pytest

from magma_bringup.launching.launch_arguments import check_words

KNOWN = ("policy", "namespace", "sim")
FILE = "/opt/share/magma_bringup/robot.launch.py"


@pytest.mark.parametrize(
    "words",
    [
        ["ros2", "launch", "magma_bringup", "robot.launch.py", "policy:=expert", "sim:="],
        ["ros2", "launch", "/elsewhere/robot.launch.py", "namespace:=a:=b", "--debug"],
        # Whoever includes the file has arguments of his own, and so have other programs.
        ["ros2", "launch", "mine", "cell.launch.py", "polcy:=expert"],
        ["pytest", "x:=y"],
        [],
    ],
)
def test_what_is_known_or_meant_for_others_is_let_be(words):
    check_words(words, FILE, KNOWN)


@pytest.mark.parametrize(
    ("word", "told"),
    [("polcy:=expert", "did you mean policy:=?"), ("arm:=x", "it knows namespace, policy, sim"), (":=x", "it knows")],
)
def test_what_is_not_known_is_refused(word, told):
    words = ["/usr/bin/ros2", "launch", "magma_bringup", "robot.launch.py", "sim:=none", word]
    with pytest.raises(RuntimeError, match=r"robot\.launch\.py has no argument") as refused:
        check_words(words, FILE, KNOWN)
    assert told in str(refused.value)
