"""The pages of recordings and evaluations in a real browser: record, mark, replay, export, play episodes."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from magma_interfaces.msg import EndEffectorDelta

from magma_common import qos
from magma_common.conversions import delta_to_msg
from magma_recorder.replay import replay

PRESET = "'\"><img src=x onerror=\"document.body.dataset.harm='done'\"> &amp; back"
WORDS = "dropped <img src=x onerror=\"document.body.dataset.harm='done'\"> twice"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("recordings"), tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def data_console(shared_graph, folders):
    """A console whose pages show folders of the test's own."""
    recordings, runs = folders
    node = shared_graph.start_console(
        {"port": 0, "recordings": str(recordings), "runs": str(runs), "presets": [PRESET, "put it back"]}
    )
    yield node
    node.stop()


@pytest.fixture
def page(graph, data_console, open_tab):
    page = open_tab(data_console.address).page
    page.set_default_timeout(300_000)  # programs that a page starts yield to everything else
    return page


def has_text(page, selector, pattern):
    """Waits until an element with such a text is there."""
    found = page.locator(selector).filter(has_text=re.compile(pattern)).first
    found.wait_for(state="attached")  # the events are on another page of the tabs
    return found


def enabled(button):
    """Waits until a button can be pressed."""
    button.wait_for()
    button.evaluate(
        "button => new Promise(done => { const look = () => button.disabled ? setTimeout(look, 50) : done(); look(); })"
    )
    return button


def test_an_episode_is_recorded_marked_replayed_bit_for_bit_and_exported(page, graph, folders):
    recordings, _ = folders
    page.click(".tabs [data-page=data]")
    page.get_by_label("name (empty = the time)").fill("../elsewhere")
    page.get_by_role("button", name="Start recording").click()
    has_text(page, ".q-notification", "a recording's name has letters")
    assert not list(recordings.iterdir())
    page.get_by_label("name (empty = the time)").fill("first")
    page.get_by_role("button", name="Start recording").click()
    success = enabled(page.get_by_role("button", name="Success"))
    has_text(page, ".page-data", "recording first")
    graph.wait(lambda: list(recordings.glob("first/*.mcap")), "the recording's file")
    graph.robot.commands.clear()
    for _ in range(3):
        graph.robot.commands.wait_for()
        graph.robot.commands.clear()
    page.get_by_label("note", exact=True).fill(WORDS)
    success.click()
    has_text(page, ".q-notification", "kept: success")
    page.get_by_role("button", name="Failure").click()
    page.get_by_role("button", name="Note only").click()
    has_text(page, ".q-notification", "write a note first")
    enabled(page.get_by_role("button", name="Stop", exact=True)).click()
    card = has_text(page, ".recording", r"first.*\d+ s · \d+ messages")
    assert card.locator(".tag.success").inner_text().endswith(f"success · {WORDS}")
    assert card.locator(".tag.failure").count() == 1
    assert page.evaluate("document.body.dataset.harm") is None
    assert card.locator("img").count() == 1, "a picture of its middle"
    card.get_by_role("button", name="Replay").click()
    has_text(page, "#events li", "replay of first: done")
    assert replay(recordings / "first").exact
    page.get_by_text("asked, sent and executed").click()
    page.wait_for_function("document.querySelector('.plot img')?.naturalWidth > 100")
    has_text(page, ".recording", "first").get_by_role("button", name="Export").click()
    told = has_text(page, "#events li", "export of first: (done|failed)").text_content()
    assert "Traceback" not in told
    # Nobody took over, so there is nothing to export, and that is said; what an operator did would be a set of its own.
    assert "done" in told or "operator" in told, told


def test_presets_and_names_of_devices_are_text_whatever_they_say(page, graph):
    assert page.locator("#presets button").first.inner_text() == PRESET
    publisher = graph.peer.publisher(EndEffectorDelta, "/teleop/command", qos.COMMAND)
    name = "<b id=bold>pad</b>@host:1"

    def takes_the_arm():
        publisher.publish(delta_to_msg(np.array([0, 0, 0, 0, 0, 0, 1.0]), graph.peer.now_ns(), "base", name))
        return page.text_content("#holder") == name

    graph.wait(takes_the_arm, lambda: f"{name} to have the arm, not {page.text_content('#holder')!r}")
    assert page.locator("#bold, .live img").count() == 0 and page.evaluate("document.body.dataset.harm") is None


def test_an_evaluation_begins_from_the_page_can_be_cancelled_and_a_finished_one_is_listed(page, folders):
    _, runs = folders
    page.click(".tabs [data-page=evaluate]")
    page.get_by_label("episodes").fill("1")
    page.get_by_role("button", name="Start", exact=True).click()
    has_text(page, ".page-evaluate .card", "run carrot_on_plate, magma-tiny: the graph is starting")
    page.get_by_role("button", name="Cancel").click()
    has_text(page, "#events li", "run carrot_on_plate, magma-tiny failed")
    page.wait_for_function("!document.querySelector('.page-evaluate').innerText.includes('the graph is starting')")
    page.get_by_label("episodes").fill("1000")
    page.get_by_role("button", name="Start", exact=True).click()
    has_text(page, ".q-notification", "1 to 100 episodes")
    hostile = runs / "console" / "from elsewhere"
    (hostile / "report").mkdir(parents=True)
    (hostile / "run.json").write_text(json.dumps({"identity": {"policy": "<b>bold</b>"}}))
    (hostile / "report" / "index.html").write_text(
        "<p id=report>the report</p><script>document.body.dataset.harm = 'done';"
        "fetch('/console/estop', {method: 'POST'})</script>"
    )
    card = has_text(page, ".page-evaluate .card", "from elsewhere")
    assert card.locator("b").count() == 0
    with page.context.expect_page() as opened:
        card.get_by_text("report", exact=True).click()
    report = opened.value
    report.wait_for_selector("#report")
    assert report.evaluate("document.body.dataset.harm ?? 'none'") == "none", "a report's scripts do not run"
