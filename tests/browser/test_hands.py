"""Other hands than the keyboard's in a real browser, and a page that sleeps or stalls under a hand that holds."""

from __future__ import annotations

import pytest
from magma_interfaces.msg import ControllerState

STUB = """() => {
  window.pad = { id: "test pad (vendor)", mapping: "standard", axes: [0, 0, 0, 0],
    buttons: Array.from({ length: 17 }, () => ({ pressed: false, value: 0 })) };
  Object.defineProperty(navigator, "getGamepads", { value: () => [null, window.pad], configurable: true });
}"""
A, B, RIGHT_TRIGGER, RIGHT_SHOULDER, START = 0, 1, 7, 5, 9


class Gamepad:
    """What `navigator.getGamepads` tells of one."""

    def __init__(self, tab):
        self.page = tab.page
        self.page.evaluate(STUB)
        tab.shows("gamepad", "test pad: hold .*")

    def press(self, button, value=1.0):
        self.page.evaluate(
            "([button, value]) => { pad.buttons[button] = { pressed: value > 0.5, value }; }", [button, value]
        )

    def tap(self, button):
        self.press(button)
        self.page.wait_for_timeout(150)
        self.press(button, 0.0)

    def tilt(self, axis, value):
        self.page.evaluate("([axis, value]) => { pad.axes[axis] = value; }", [axis, value])

    def drives(self, graph):
        """Holds the shoulder button and the stick forward until the arm follows."""
        for _ in range(20):
            self.tilt(1, 0.0)
            self.press(RIGHT_SHOULDER, 0.0)
            self.page.wait_for_timeout(200)
            graph.asked.clear()
            self.press(RIGHT_SHOULDER)
            self.tilt(1, -1.0)
            try:
                return graph.asked.wait_for(lambda command: command.translation.x > 0.0, 3.0)
            except pytest.fail.Exception:
                continue
        pytest.fail(f"the arm does not follow the gamepad: {self.page.text_content('#notice')!r}")


def test_a_gamepad_drives_grips_stops_and_hands_back(graph, open_tab):
    tab = open_tab()
    pad = Gamepad(tab)
    # A shoulder button that is held from the start on takes nothing.
    tab.page.reload()
    tab.ready()
    graph.asked.clear()
    tab.page.evaluate(f"() => {{ ({STUB})(); pad.buttons[{RIGHT_SHOULDER}] = {{ pressed: true, value: 1 }}; }}")
    pad.tilt(1, -1.0)
    tab.page.wait_for_timeout(500)
    assert graph.asked.last is None
    command = pad.drives(graph)
    assert command.translation.y == command.translation.z == 0.0
    graph.phase(ControllerState.TELEOP)
    closed = command.gripper < 0.5
    pad.tap(A)
    graph.asked.wait_for(lambda command: (command.gripper < 0.5) != closed)
    pad.tilt(1, 0.0)
    pad.press(RIGHT_TRIGGER)
    graph.asked.wait_for(lambda command: command.translation.z > 0.0 and command.translation.x == 0.0)
    pad.press(RIGHT_TRIGGER, 0.0)
    pad.press(RIGHT_SHOULDER, 0.0)
    graph.rests()
    pad.tap(START)
    graph.phase(ControllerState.AUTONOMOUS)
    pad.drives(graph)
    pad.tap(B)
    graph.phase(ControllerState.ESTOP)


def test_a_gamepad_that_is_unplugged_while_it_drives_is_a_hold(graph, open_tab):
    tab = open_tab()
    pad = Gamepad(tab)
    pad.drives(graph)
    tab.page.evaluate("() => { window.kept = window.pad; window.pad = null; }")
    graph.rests()
    # It comes back with the button held: that is not a hand that took hold now.
    tab.page.evaluate("() => { window.pad = window.kept; }")
    tab.page.wait_for_timeout(500)
    graph.robot.nothing_moves()
    pad.drives(graph)


@pytest.mark.parametrize("how", ["told that it freezes", "paused", "stalled"])
def test_a_page_that_sleeps_under_a_hand_that_holds_is_a_hold_until_it_lets_go(graph, open_tab, how):
    tab = open_tab()
    tab.drives(graph)
    if how == "told that it freezes":
        tab.page.evaluate("document.dispatchEvent(new Event('freeze'))")
        graph.rests()
    elif how == "paused":
        session = tab.context.new_cdp_session(tab.page)
        session.send("Debugger.enable")
        session.send("Debugger.pause")
        graph.rests()
        session.send("Debugger.resume")
        session.send("Debugger.disable")
    else:
        tab.page.evaluate("() => { const until = Date.now() + 2500; while (Date.now() < until); }")
        graph.rests()
    # The keys are still down.
    graph.robot.nothing_moves()
    tab.shows("phase", "TELEOP")
    tab.drives(graph)


def test_a_finger_on_a_pad_drives_and_its_lifting_is_a_hold(graph, open_tab):
    tab = open_tab()
    box = tab.page.locator("#pad-xy").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for _ in range(20):
        graph.asked.clear()
        tab.page.mouse.move(*middle)
        tab.page.mouse.down()
        tab.page.mouse.move(middle[0], box["y"] + 10, steps=3)
        try:
            command = graph.asked.wait_for(lambda command: command.translation.x > 0.0, 3.0)
            break
        except pytest.fail.Exception:
            tab.page.mouse.up()
    assert command.translation.y == 0.0
    graph.phase(ControllerState.TELEOP)
    tab.page.mouse.up()
    graph.rests()
