"""Pointing at the picture in a real browser: clicks and boxes become names, a proposal and, after a yes, asked for."""

from __future__ import annotations

import pytest
from controller_peers import INSTRUCTION
from grounding_peers import ColourGrounder, scene, served
from magma_interfaces.msg import ControllerState, Instruction

from magma_common import qos

CARROT, PLATE = (20, 60, 40, 70), (80, 50, 110, 80)
SCENE = scene(orange=CARROT, white=PLATE)
MOVED = scene(orange=(60, 20, 80, 30), white=PLATE)
SENTENCE = "put the orange carrot on the white plate"


@pytest.fixture(scope="module")
def grounder():
    return ColourGrounder()


@pytest.fixture(scope="module")
def pointing_graph(shared_graph, grounder):
    with served(grounder) as url:
        shared_graph.start("magma_grounding_ros.grounding_node", {"model": url, "max_frame_age_s": 0.0})
        yield shared_graph


@pytest.fixture
def told(pointing_graph, graph):
    """Every instruction that is in force; the arm rests, and the scene is as at first."""
    graph.robot.policy_runs = False
    graph.frame = SCENE
    graph.phase(ControllerState.HOLD)
    heard = graph.peer.collect(Instruction, "/magma/instruction_in_force", qos.STATE)
    heard.wait_for(lambda message: message.instruction == INSTRUCTION)
    heard.clear()
    yield heard
    graph.frame = None


@pytest.fixture
def tab(told, open_tab):
    tab = open_tab()
    tab.page.click("#point")
    tab.page.wait_for_function("document.getElementById('pixels').width === 128")
    return tab


def at(tab, x, y):
    """The place on the screen of a pixel of the frame."""
    box = tab.page.locator("#picture").bounding_box()
    return box["x"] + box["width"] * x / 128, box["y"] + box["height"] * y / 128


def draw(tab, x1, y1, x2, y2):
    tab.page.mouse.move(*at(tab, x1, y1))
    tab.page.mouse.down()
    tab.page.mouse.move(*at(tab, x2, y2), steps=4)
    tab.page.mouse.up()


def click(tab, x, y):
    tab.page.mouse.click(*at(tab, x, y))


def test_a_click_and_a_box_become_an_instruction_after_a_yes(graph, tab, told):
    click(tab, 30, 65)
    tab.shows("pointing-text", "Now click on where to put it.*")
    draw(tab, 80, 50, 110, 80)
    tab.shows("pointing-text", f"“{SENTENCE}”\\?")
    assert tab.page.locator("#marks .mark span").all_text_contents() == ["the orange carrot", "the white plate"]
    mark = tab.page.locator("#marks .mark").first.bounding_box()
    assert (mark["x"], mark["y"]) == pytest.approx(at(tab, *CARROT[:2]), abs=2.0)
    assert not told.messages, "nothing is asked for before the yes"
    tab.page.click("#point-yes")
    tab.shows("pointing-text", "in force")
    heard = told.wait_for(lambda message: message.instruction == SENTENCE)
    assert "confirmed by console" in heard.asked_by


def test_one_place_is_named_into_the_line_and_nothing_is_asked_for(tab, told):
    draw(tab, 18, 58, 42, 72)
    tab.page.click("#point-name")
    tab.shows("pointing-text", "That is “the orange carrot”.*")
    assert tab.page.input_value("#instruct-text") == "the orange carrot"
    assert not told.messages


def test_what_moved_before_the_yes_and_what_is_no_thing_is_refused_in_words(graph, tab, told):
    click(tab, 5, 5)
    click(tab, 95, 65)
    tab.shows("pointing-text", ".*Click again.")
    click(tab, 30, 65)
    click(tab, 95, 65)
    tab.shows("pointing-text", f"“{SENTENCE}”\\?")
    graph.frame = MOVED
    before = tab.page.evaluate("consoleTimes.shown")
    tab.page.wait_for_function(f"consoleTimes.shown > {before + 3}")
    tab.page.click("#point-yes")
    tab.shows("pointing-text", "refused: .*the scene is not as it was.*")
    assert not told.messages


def test_phrases_become_boxes_on_every_page_and_questions_get_answers(open_tab, tab, told):
    other = open_tab()
    tab.page.click("#point")
    tab.page.fill("#find-text", "the carrot, the spoon")
    tab.page.press("#find-text", "Enter")
    tab.shows("find-answer", "found: the carrot; no spoon found")
    for page in (tab.page, other.page):
        page.wait_for_function("document.querySelector('#marks .mark span')?.textContent === 'the carrot'")
    other.page.click("#layers [data-value=boxes]")
    other.page.wait_for_function("document.querySelectorAll('#marks .mark').length === 0")
    tab.page.fill("#find-text", "is there the carrot?")
    tab.page.press("#find-text", "Enter")
    tab.shows("find-answer", "yes|no")
    tab.page.click("#describe")
    tab.shows("find-answer", "An image of a orange carrot a white plate")
    tab.page.click("#source [data-value=marks]")
    tab.page.wait_for_function("document.getElementById('pixels').width === 128")


def test_a_page_confirms_only_what_it_was_shown(graph, open_tab, tab, told):
    click(tab, 30, 65)
    click(tab, 95, 65)
    tab.shows("pointing-text", f"“{SENTENCE}”\\?")
    other = open_tab()
    send = """([address, number]) => new Promise((done) => {
      const socket = new WebSocket(address);
      socket.onopen = () => socket.send(JSON.stringify({type: "confirm", proposal: number}));
      socket.onmessage = (event) => {
        for (const one of JSON.parse(event.data).answers ?? []) { socket.close(); done(one); }
      };
    })"""
    address = graph.console.address.replace("http", "ws") + "console/operator"
    for number in (1, 2, 3, 4, 0, -1, 2**70, "1", None):
        answer = other.page.evaluate(send, [address, number])
        assert not answer["ok"] and answer["to"] == "confirm"
    assert not told.messages


def test_without_a_model_the_page_says_what_to_start(pointing_graph, graph, open_tab):
    name, node = next(item for item in graph._nodes if "grounding" in item[0])
    assert name
    node.stop()
    tab = open_tab()
    tab.page.fill("#find-text", "the carrot")
    tab.page.press("#find-text", "Enter")
    tab.shows("find-answer", "refused: .*grounding:=.*")
