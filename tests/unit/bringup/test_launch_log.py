import pytest

from magma_bringup.launching.launch_log import said_by_the_first_dead, why_it_ended

DIED = "process has died [pid 7, exit code {}, cmd '/venv/bin/node --ros-args']."


def test_the_first_node_that_died_is_quoted():
    lines = [
        "[policy-5] [FATAL] [1.0] [policy]: cannot load policy: there is no checkpoint /nowhere",
        "[controller-2] [INFO] [1.1] [controller]: waiting",
        "[ERROR] [policy-5]: process has died [pid 7, exit code 1, cmd 'policy'].",
        "[ERROR] [simulator-4]: process has died [pid 8, exit code -9, cmd 'simulator'].",
    ]
    assert said_by_the_first_dead(lines) == [lines[0], lines[2]]
    assert said_by_the_first_dead(lines[:2]) == []


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (
            [
                "[INFO] [policy-5]: process started with pid [7]",
                "[policy-5] [WARN] [1.0] [policy]: loading /nowhere",
                "[policy-5] [FATAL] [1.0] [policy]: cannot load policy: no checkpoint '/nowhere'",
                "[policy-5] [INFO] [1.1] [policy]: good-bye",
                f"[ERROR] [policy-5]: {DIED.format(1)}",
                "[ERROR] [launch]: Caught exception in launch (see debug for traceback): policy cannot run",
            ],
            "policy: cannot load policy: no checkpoint '/nowhere'",
        ),
        (
            [
                "[simulator-4] Traceback (most recent call last):",
                "[simulator-4] OSError: [Errno 28] No space left",
                f"[ERROR] [simulator-4]: {DIED.format(1)}",
            ],
            "simulator: OSError: [Errno 28] No space left",
        ),
        (
            [
                "[camera_subscriber-1] node camera_subscriber: unknown parameter 'siz'",
                "",
                f"[ERROR] [camera_subscriber-1]: {DIED.format(2)}",
            ],
            "node camera_subscriber: unknown parameter 'siz'",
        ),
        (
            ["[simulator-4] [INFO] [1.0] [simulator]: building", f"[ERROR] [simulator-4]: {DIED.format(-9)}"],
            "simulator was ended by signal 9",
        ),
        ([f"[ERROR] [controller-2]: {DIED.format(3)}"], "controller ended with status 3"),
        (
            ["[ERROR] [launch]: Caught exception in launch (see debug for traceback): layout:=x is not a number"],
            "layout:=x is not a number",
        ),
        (
            ["[ERROR] [launch]: Caught exception in launch (see --debug for traceback): sim:=x is not known"],
            "sim:=x is not known",
        ),
        (["[INFO] [controller-2]: process has finished cleanly [pid 8]", "[INFO] [a]: b"], "controller has ended"),
        (["ros2: error: no package magma_bringup"], "ros2: error: no package magma_bringup"),
        ([], "it wrote nothing"),
    ],
)
def test_one_sentence_says_why_a_launch_ended(lines, why):
    assert why_it_ended(lines) == why
