"""The console in a real browser, by what the controller then reports and the arm then gets."""

from __future__ import annotations

import http.server
import signal
import threading

import pytest
from magma_interfaces.msg import ControllerState, Instruction

from magma_common import qos

TELEOP, ESTOP, HOLD, AUTONOMOUS = (
    ControllerState.TELEOP,
    ControllerState.ESTOP,
    ControllerState.HOLD,
    ControllerState.AUTONOMOUS,
)


def test_keys_drive_the_arm_and_hand_it_back(graph, open_tab):
    tab = open_tab()
    tab.page.keyboard.press("KeyW")
    assert "hold Space as well" in tab.shows("notice", "hold Space.*"), "a motion key alone takes nothing"
    name = tab.drives(graph, "KeyW")
    graph.phase(TELEOP)
    tab.shows("phase", "TELEOP")
    tab.shows("holder", rf"you \({name}\)")
    forward = graph.asked.wait_for(lambda command: command.translation.x > 0.0)
    assert forward.source == name and forward.translation.y == forward.translation.z == 0.0
    tab.let_go("KeyW")
    graph.rests()
    tab.page.keyboard.press("KeyH")
    graph.phase(AUTONOMOUS)
    tab.shows("holder", "the policy")


def test_a_stop_from_a_second_tab_stops_and_a_held_press_rearms(graph, open_tab):
    driver, other = open_tab(), open_tab()
    driver.drives(graph)
    other.page.focus("#instruct-text")
    other.page.keyboard.press("Escape")
    graph.phase(ESTOP)
    for tab in (driver, other):
        tab.shows("phase", "ESTOP")
    assert other.page.is_hidden("#alarm"), "it is confirmed"
    # The driver's keys are still down: nothing moves, now or after the re-arm.
    graph.robot.nothing_moves()
    other.page.click("#rearm")
    graph.robot.nothing_moves()
    graph.phase(ESTOP)
    graph.robot.policy_runs = False
    other.page.hover("#rearm")
    other.page.mouse.down()
    graph.phase(HOLD)
    other.page.mouse.up()
    graph.robot.nothing_moves()
    driver.drives(graph)


@pytest.mark.parametrize("end", ["closed", "reloaded", "blurred"])
def test_a_page_that_goes_while_driving_holds_and_hands_nothing_back(graph, open_tab, end):
    tab = open_tab()
    tab.drives(graph)
    if end == "closed":
        tab.page.close()
    elif end == "reloaded":
        tab.page.reload()
        tab.ready()
        # Keys that are held repeat, also into a page that is new.
        tab.page.keyboard.down("Space")
        tab.page.keyboard.down("KeyW")
    else:
        tab.page.evaluate("window.dispatchEvent(new Event('blur'))")
    graph.rests()
    if end != "closed":
        tab.drives(graph)


def test_two_operators_are_not_followed_at_once(graph, open_tab):
    first, second = open_tab(), open_tab()
    name = first.drives(graph)
    second.page.keyboard.down("Space")
    graph.robot.states.wait_for(lambda state: "another operator has the arm" in state.rejection_reasons)
    second.shows("holder", name)
    second.let_go()
    second.page.click("#hand-back")
    second.shows("notice", f"refused: {name} has the arm.*")
    first.let_go("KeyW")
    graph.rests()
    assert second.drives(graph) != name


def test_a_wrong_token_opens_nothing(graph, browser, open_tab):
    guarded = graph.start_console({"port": 0}, MAGMA_CONSOLE_TOKEN="a token for this test alone")
    address = guarded.address.partition("?")[0]
    assert guarded.address != address, "the token is told where the console is started"
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.fill("input[name=token]", "something else that is long")
    page.click("button")
    assert "wrong token" in page.text_content("body")
    socket = "new Promise(done => { const s = new WebSocket('ws://' + location.host + '/console/operator');"
    assert page.evaluate(socket + "s.onopen = () => done('open'); s.onclose = () => done('closed'); })") == "closed"
    page.goto(address)
    page.fill("input[name=token]", "a token for this test alone")
    page.click("button")
    page.wait_for_selector("#estop")
    assert "token" not in page.url
    context.close()
    open_tab(guarded.address)
    guarded.stop()


def test_pages_from_elsewhere_neither_see_nor_act(graph, browser):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context()
    page = context.new_page()
    page.route(f"http://127.0.0.1:{server.server_address[1]}/", lambda route: route.fulfill(body="elsewhere"))
    page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
    where = graph.console.address.removeprefix("http://").strip("/")
    for path in ("operator", "pictures/camera"):
        opened = page.evaluate(
            "address => new Promise(done => { const s = new WebSocket(address); s.onopen = () => done('open');"
            "s.onclose = () => done('closed'); })",
            f"ws://{where}/console/{path}",
        )
        assert opened == "closed"
    for mode in ("cors", "no-cors"):
        page.evaluate(f"fetch('http://{where}/console/estop', {{method: 'POST', mode: '{mode}'}}).catch(() => null)")
    graph.phase(AUTONOMOUS)
    page.set_content(f"<iframe src='http://{where}/'></iframe>")
    assert not any("#estop" in frame.content() for frame in page.frames[1:])
    context.close()
    server.shutdown()
    server.server_close()


def test_an_instruction_is_text_whatever_it_says(graph, open_tab):
    words = "put <img src=x onerror=\"document.body.dataset.harm='done'\"> <b>there</b>"
    told = graph.peer.collect(Instruction, "/magma/instruction_in_force", qos.STATE)
    tab = open_tab()
    tab.page.fill("#instruct-text", words)
    tab.page.press("#instruct-text", "Enter")
    heard = told.wait_for(lambda message: message.instruction == words)
    assert heard.asked_by.startswith("console")
    tab.page.wait_for_function("words => document.getElementById('instruction').textContent.includes(words)", arg=words)
    tab.shows("instruct-answer", "in force")
    assert tab.page.locator(".live img, .live b:text('there')").count() == 0
    assert tab.page.evaluate("document.body.dataset.harm") is None
    tab.page.click("#presets button")
    assert tab.page.input_value("#instruct-text") == words


def test_a_lost_camera_and_a_dead_policy_are_told_in_words(graph, open_tab):
    tab = open_tab()
    tab.page.wait_for_function("consoleTimes.shown > 2")
    graph.camera_works = False
    tab.page.wait_for_selector("#no-picture", state="visible")
    tab.shows("no-picture", "NO PICTURE FOR .*")
    graph.camera_works = True
    tab.page.wait_for_selector("#no-picture", state="hidden")
    graph.robot.policy_runs = False
    graph.phase(HOLD, "policy silent")
    tab.shows("reason", ".*policy silent.*")
    tab.shows("phase", "HOLD")


def test_a_console_that_stalls_or_dies_while_driving_is_a_hold_and_the_page_says_so(graph, open_tab):
    tab = open_tab()
    tab.drives(graph)
    graph.console.send_signal(signal.SIGSTOP)
    graph.rests()
    graph.console.send_signal(signal.SIGCONT)
    tab.shows("notice", "holding.*|let go.*")
    graph.robot.nothing_moves()
    tab.drives(graph)
    graph.console.send_signal(signal.SIGKILL)
    graph.rests()
    tab.shows("phase", "NO CONNECTION")
    assert tab.page.is_visible("#warning")
    tab.page.keyboard.press("Escape")
    tab.shows("alarm", "EMERGENCY STOP NOT CONFIRMED.*")
    assert tab.page.is_visible("#alarm")
