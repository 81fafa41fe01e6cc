import numpy as np
import pytest

from magma_teleop.config import KeyboardConfig
from magma_teleop.display import MOST_LINES, Status, status_line, status_lines
from magma_teleop.keys import CTRL_X, ENTER, ESCAPE, HELP, PASTE_BEGINS, PASTE_ENDS, Request, help_lines
from magma_teleop.session import RELEASED_S, KeyboardSession, NewInstruction


@pytest.fixture
def session() -> KeyboardSession:
    return KeyboardSession(KeyboardConfig())


def type_keys(session, keys):
    return [outcome for outcome in (session.press(key, 0.0) for key in keys) if outcome is not None]


@pytest.mark.parametrize(
    ("key", "request_"),
    [
        ("h", Request.HAND_BACK),
        (ENTER, Request.HAND_BACK),
        ("x", Request.ESTOP),
        (CTRL_X, Request.ESTOP),
        ("c", Request.REARM),
    ],
)
def test_requests(session, key, request_):
    assert session.press(key, 0.0) is request_


def test_motion_keys_become_a_command(session):
    session.press("w", 0.0)
    np.testing.assert_allclose(session.command(0.0, 0.0), [0.02, 0, 0, 0, 0, 0, 0.0])


def test_an_emergency_stop_forgets_motions(session):
    session.press("w", 0.0)
    session.press("x", 0.0)
    assert session.command(0.0, 1.0) is None


def test_losing_the_arm_forgets_motions(session):
    session.press("w", 0.0)
    session.operator_lost_the_arm()
    assert session.command(0.0, 1.0) is None


def test_nothing_is_sent_before_the_gripper_is_known(session):
    session.press("w", 0.0)
    assert session.command(0.0, None) is None
    assert "no end effector state" in session.notice
    assert session.command(0.1, 1.0) is None


def test_an_instruction_is_typed_without_moving_the_arm(session):
    assert type_keys(session, ["i", *"grab carrots", "backspace", "up", ENTER]) == [NewInstruction("grab carrot")]
    assert session.typed is None
    assert session.command(0.0, 1.0) is None


@pytest.mark.parametrize("keys", [["i", ENTER], ["i", " ", ENTER], ["i", "a", ESCAPE]])
def test_an_empty_or_dropped_instruction_is_not_sent(session, keys):
    assert type_keys(session, keys) == []
    assert session.typed is None
    assert session.notice == "no new instruction"


def test_the_emergency_stop_works_while_typing(session):
    assert type_keys(session, ["i", "a", "x", CTRL_X]) == [Request.ESTOP]
    assert session.typed is None


def test_help_comes_again_when_asked_for_and_other_keys_say_that_they_do_nothing(session):
    assert session.help_due
    session.help_due = False
    session.press("?", 0.0)
    assert session.help_due
    session.press("z", 0.0)
    assert session.notice == "key 'z' does nothing; ? for help"


def test_new_step_sizes_apply_at_once(session):
    session.reconfigure(KeyboardConfig(step_translation_m=0.005))
    session.press("w", 0.0)
    assert session.command(0.0, 1.0)[0] == 0.005


STATUS = Status("AUTONOMOUS", "policy 'magma-tiny' is acting", "put the carrot on the plate", 53.2, 1.0)


def test_the_line_says_what_matters_and_fits():
    line = status_line(STATUS, None, "", 200)
    assert line == (
        "AUTONOMOUS · policy 'magma-tiny' is acting · \"put the carrot on the plate\" · gripper open · frame 53 ms"
    )
    assert status_line(STATUS, None, "", 20) == line[:20]
    assert "no controller heard" in status_line(None, None, "", 200)


def test_a_long_instruction_shows_its_end():
    line = status_line(STATUS, "word " * 40 + "end", "", 80)
    assert len(line) <= 80 and line.endswith("end_")


def test_text_from_the_network_cannot_control_the_screen():
    status = Status("HOLD", "\x1b[2Jgone", "a\nb", float("nan"), None)
    assert status_line(status, None, "", 200) == 'HOLD · ?[2Jgone · "a?b"'


@pytest.mark.parametrize("width", [40, 59, 79, 119, 300])
def test_help_and_status_fit_any_terminal(width):
    lines = help_lines(width)
    assert all(len(line) <= width for line in lines)
    assert all(text in "\n".join(lines) for _, text in HELP)
    reason = "emergency stop: " + "the robot's button was pressed " * 20
    for notice in ("", "asked for: " + "word " * 40):
        shown = status_lines(Status("ESTOP", reason, "go", 53.2, 1.0), None, notice, width)
        assert len(shown) <= MOST_LINES and all(len(line) <= width for line in shown)


def test_sentences_of_the_controller_name_the_keys_of_this_device():
    estop = Status("ESTOP", "emergency stop: pressed; re-arm with /magma/rearm", "go", 1.0, None)
    assert "re-arm with c" in status_line(estop, None, "", 200)
    left = Status("ESTOP", "emergency stop: pressed; re-arm with /left/magma/rearm", "go", 1.0, None)
    assert "re-arm with c" in status_line(left, None, "", 200)
    assert "hand back with h" in status_line(estop, None, "the operator has it; hand back with /magma/hand_back", 200)
    assert "with /other/name" in status_line(estop, None, "works with /other/name", 200)


def shell_line():
    return [character for character in "cd /robot && source setup.bash"]


@pytest.mark.parametrize("marks", [True, False], ids=["marked by the terminal", "only fast"])
def test_a_pasted_line_moves_nothing_and_frees_nothing(marks):
    session = KeyboardSession(KeyboardConfig())
    keys = [PASTE_BEGINS, *shell_line(), PASTE_ENDS] if marks else shell_line()
    asked = [session.press(key, 0.0) for key in session.meant(keys)]
    assert all(item in (None, Request.ESTOP) for item in asked)
    assert session.command(0.1, 1.0) is None and session.typed is None
    assert "pasted" in session.notice
    # One key after the other is a person again.
    assert [session.press(key, 1.0) for key in session.meant(["c"])] == [Request.REARM]


def test_a_marked_paste_may_come_in_several_pieces():
    session = KeyboardSession(KeyboardConfig())
    assert session.meant([PASTE_BEGINS, "w"]) == [] and session.meant(["c"]) == []
    assert session.meant([PASTE_ENDS, "w"]) == ["w"]


@pytest.mark.parametrize("keys", [["x", *"abcd"], [CTRL_X, *"abcd"], [PASTE_BEGINS, CTRL_X, PASTE_ENDS]])
def test_the_emergency_stop_is_heard_in_any_heap_of_keys(keys):
    session = KeyboardSession(KeyboardConfig())
    assert Request.ESTOP in [session.press(key, 0.0) for key in session.meant(keys)]


def test_a_held_key_is_no_paste():
    session = KeyboardSession(KeyboardConfig())
    assert session.meant(["w"] * 200) == ["w"] * 200


def test_an_instruction_may_be_pasted_but_its_line_ends_do_not_send_it():
    session = KeyboardSession(KeyboardConfig())
    for key in session.meant(["i"]):
        session.press(key, 0.0)
    for key in session.meant([PASTE_BEGINS, *"open the", ENTER, *"drawer", ENTER, PASTE_ENDS]):
        assert session.press(key, 0.0) is None
    assert session.typed == "open the drawer "
    (sent,) = [session.press(key, 0.0) for key in session.meant([ENTER])]
    assert sent == NewInstruction("open the drawer")


def test_a_motion_key_that_is_held_through_a_stop_moves_nothing_until_it_was_let_go():
    session = KeyboardSession(KeyboardConfig())
    session.press("w", 0.0)
    assert session.command(0.0, 1.0) is not None
    session.latched = True
    session.operator_lost_the_arm()
    for step in range(1, 30):
        session.press("w", step / 30)
    session.latched = False
    for step in range(30, 90):
        session.press("w", step / 30)
        assert session.command(step / 30, 1.0) is None
    assert "let go" in session.notice
    session.press("w", 3.0 + RELEASED_S)
    assert session.command(3.0 + RELEASED_S, 1.0) is not None


def test_the_first_press_after_a_re_arm_moves_when_nothing_was_held():
    session = KeyboardSession(KeyboardConfig())
    session.press("w", 0.0)
    session.command(0.0, 1.0)
    session.latched = True
    session.operator_lost_the_arm()
    session.latched = False
    session.press("w", 0.3)
    assert session.command(0.3, 1.0) is not None
