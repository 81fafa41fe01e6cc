"""An agent that obeys every hostile page, in a real browser: nothing that it must not do happens."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

pytest.importorskip("playwright", reason="Playwright is not installed; run: ./run setup screens")
if shutil.which("chromium") is None:
    pytest.skip("no Chromium here; run: ./run setup screens", allow_module_level=True)

from magma_policy.screens.actions import Kind, ScreenAction
from magma_policy.screens.agent import Act
from magma_policy.screens.browser import BrowserSettings, PageBrowser
from magma_policy.screens.risks import Risk


@dataclass(frozen=True)
class HostilePage:
    """A page, and what an agent that obeys it clicks: pairs of an element's name and the text to type or choose."""

    name: str
    body: str
    obeys: list[tuple[str, str]]


_READ = tomllib.loads(Path(__file__).with_name("hostile_pages.toml").read_text(encoding="utf-8"))
PAGES, HARMLESS = ([HostilePage(**table) for table in _READ[kind]] for kind in ("hostile", "harmless"))


class Server(http.server.ThreadingHTTPServer):
    """A web server that keeps what it is asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, str] = {}
        self.elsewhere = ""
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", f"{self.server.elsewhere}/take")
            self.end_headers()
            return
        path = self.path.partition("?")[0]
        body = self.server.pages.get(path, "<title>DONE</title>" if path == "/done" else "<title>HARM</title>").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    shop, stranger = Server(), Server()
    shop.elsewhere = stranger.address
    for number, hostile in enumerate([*PAGES, *HARMLESS]):
        body = hostile.body.replace("SHOP", shop.address).replace(
            "STRANGERHOST", stranger.address.removeprefix("http://")
        )
        body = body.replace("STRANGER", stranger.address)
        shop.pages[f"/{number}"] = f"<!doctype html><meta charset=utf-8><title>page</title><body>{body}</body>"
    yield shop, stranger
    for server in (shop, stranger):
        server.shutdown()
        server.server_close()


class Person:
    """Says no, unless it is told to agree, and keeps what it was asked."""

    def __init__(self) -> None:
        self.agrees = False
        self.asked: list[str] = []

    def __call__(self, what: str, risks: dict[Risk, str]) -> bool:
        assert risks
        self.asked.append(what)
        return self.agrees


@pytest.fixture(scope="module")
def person() -> Person:
    return Person()


@pytest.fixture(scope="module")
def browser(servers, person) -> Iterator[PageBrowser]:
    # As root Chromium has no sandbox; the pages are our own.
    settings = BrowserSettings(allowed=(servers[0].address,), width=640, height=480, sandbox=False)
    with PageBrowser(settings, person) as opened:
        yield opened


def obey(browser: PageBrowser, hostile: HostilePage) -> list[str]:
    """Does what the page asks for; returns why it was not done, click by click."""
    outcomes = []
    for said, text in hostile.obeys:
        name, _, role = said.partition("#")
        view = browser.view()
        shown = next((item for item in view.candidates if item.name == name and item.role.startswith(role)), None)
        if shown is None:
            outcomes.append(f"no {said!r} among {[item.name for item in view.candidates]}")
            continue
        kind = Kind.CLICK if not text else Kind.SELECT if shown.options else Kind.TYPE
        outcomes.append(browser.perform(Act(ScreenAction(kind, 0, text=text), shown, shown.centre)))
    return outcomes


@pytest.mark.parametrize("number", range(len(PAGES)), ids=lambda number: PAGES[number].name)
def test_no_hostile_page_gets_what_it_wants(browser, servers, number):
    shop, stranger = servers
    stranger.asked.clear()
    browser.open(f"{shop.address}/{number}")
    begin = len(shop.asked)
    outcomes = obey(browser, PAGES[number])
    assert browser.page.title() != "HARM", outcomes
    assert stranger.asked == [], outcomes
    assert [asked for asked in shop.asked[begin:] if "/harm" in asked or not asked.startswith("GET ")] == [], outcomes
    assert browser.page.url.startswith(shop.address), outcomes
    assert len(browser.page.context.pages) == 1


@pytest.mark.parametrize("number", range(len(HARMLESS)), ids=lambda number: HARMLESS[number].name)
def test_what_is_harmless_is_done(browser, servers, number):
    shop, _ = servers
    browser.open(f"{shop.address}/{len(PAGES) + number}")
    assert set(obey(browser, HARMLESS[number])) == {""}, browser.refused()
    assert browser.page.title() == "DONE"


def test_a_person_who_agrees_gets_it_done_and_only_that(browser, servers, person):
    shop, stranger = servers
    stranger.asked.clear()
    person.asked.clear()
    person.agrees = True
    try:
        for name in ("a form that posts", "a link elsewhere"):
            number = [item.name for item in PAGES].index(name)
            browser.open(f"{shop.address}/{number}")
            begin = len(shop.asked)
            outcomes = obey(browser, PAGES[number])
            if name == "a form that posts":
                assert outcomes == [""] and "POST /harm" in shop.asked[begin:] and len(person.asked) == 1
    finally:
        person.agrees = False
    # Not even a yes opens an address that was not allowed from the beginning.
    assert stranger.asked == [] and outcomes != [""]
