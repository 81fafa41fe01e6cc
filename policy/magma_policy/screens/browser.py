"""A web page in a real browser, as the agent sees and touches it: Chromium, driven by Playwright.

Every browser begins with an empty profile and ends with it. Nothing leaves it but to allowed addresses, nothing that
changes something there without a person's yes; pop-ups, downloads, dialogues and permissions are refused. An action is
carried out only on the element that was shown to the model, where it still is, when nothing covers it, and when a
person has agreed to what it may do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Dialog, Page, Playwright, Route, WebSocketRoute, sync_playwright
from playwright.sync_api import Error as BrowserError

from magma_contracts.text import printable
from magma_policy.errors import CommandError, ScreenError
from magma_policy.screens.actions import Kind
from magma_policy.screens.agent import Act, View
from magma_policy.screens.allow_proxy import AllowProxy
from magma_policy.screens.candidates import Candidate, tidied
from magma_policy.screens.network_rules import READING, allowed_origins, file_in, origin_of, refuse_request
from magma_policy.screens.page_candidates import accessibility_candidates, page_candidates
from magma_policy.screens.page_snapshot import STYLES, Element, read_snapshot
from magma_policy.screens.risks import Risk, risks_of

MOVED_PX = 8.0
"""An element that went farther since it was shown is looked at again."""
KEY_MS = 20.0
_TIMEOUT_MS = 30_000.0
# Chromium asks its maker for many things by itself.
_QUIET = (
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    # By default what is on this machine goes around a proxy.
    "--proxy-bypass-list=<-loopback>",
)
_NO_SANDBOX = ("No usable sandbox", "Failed to move to new namespace", "setuid sandbox", "SUID sandbox")
_CHOOSE = """function (words) {
    for (const option of this.options) {
        if ((option.label || option.text).trim().replace(/\\s+/g, ' ') === words) {
            option.selected = true;
            for (const kind of ['input', 'change']) this.dispatchEvent(new Event(kind, {bubbles: true}));
            return true;
        }
    }
    return false;
}"""

Agree = Callable[[str, dict[Risk, str]], bool]
"""asks a person: what is about to be done, and why it may matter; True only for a yes"""


def nobody(what: str, risks: dict[Risk, str]) -> bool:
    """The answer when there is nobody to ask."""
    del what, risks
    return False


@dataclass(frozen=True)
class BrowserSettings:
    """How the browser is started and where it may go.

    Attributes:
        allowed: addresses whose origins may be visited.
        folder: below which `file:` pages may be read; None: nowhere.
        width, height: of the page in CSS pixels.
        scale: pixels of the screenshot per CSS pixel.
        sandbox: Chromium's own; it cannot be had as root.
        executable: the browser's program; None: chromium, as the system has it.
        settle_ms: time that a page is given after each action before it is looked at.

    Raises:
        CommandError: a value that makes no sense, or no browser.
        ScreenError: an address without an origin.
    """

    allowed: tuple[str, ...] = ()
    folder: Path | None = None
    width: int = 1280
    height: int = 800
    scale: float = 1.0
    sandbox: bool = True
    executable: Path | None = None
    settle_ms: float = 500.0

    def __post_init__(self) -> None:
        if not (100 <= self.width <= 4000 and 100 <= self.height <= 4000):
            raise CommandError(f"a page is 100 to 4000 pixels wide and high, got {self.width} x {self.height}")
        if not 0.25 <= self.scale <= 8.0:
            raise CommandError(f"the scale of a screenshot lies between 0.25 and 8, got {self.scale}")
        if not 0.0 <= self.settle_ms <= _TIMEOUT_MS:
            raise CommandError(f"a page settles for 0 to {_TIMEOUT_MS:g} ms, got {self.settle_ms}")
        if self.sandbox and hasattr(os, "geteuid") and os.geteuid() == 0:
            raise CommandError(
                "Chromium has no sandbox as root: run this as another user, or, for pages that you trust, without it "
                "(--no-sandbox)"
            )
        allowed_origins(self.allowed)

    @property
    def program(self) -> str:
        """The browser's program. CommandError: there is none."""
        names = [str(self.executable)] if self.executable else ["chromium", "chromium-browser", "google-chrome"]
        for name in names:
            found = shutil.which(name)
            if found:
                return found
        raise CommandError(f"no browser: {' or '.join(names)} is not installed; on Debian: apt-get install chromium")


def _driver() -> Playwright:
    try:
        return sync_playwright().start()
    except Exception as error:  # of no type of its own: the program ended before it spoke
        raise CommandError(
            f"Playwright's driver does not start ({printable(error)}); run: ./run setup screens"
        ) from error


class PageBrowser:
    """One page, from an empty profile until `close`; a context manager.

    Args:
        settings: where it may go.
        agree: asks a person.
    """

    def __init__(self, settings: BrowserSettings, agree: Agree = nobody) -> None:
        self._settings, self._agree = settings, agree
        self._allowed = allowed_origins(settings.allowed)
        self._agreed = False
        self._answers: dict[tuple[str, str], bool] = {}
        self._refused: list[str] = []
        self._asked_for: str | None = None
        program = settings.program
        self._proxy = AllowProxy(self._allowed)
        self._playwright: Playwright | None = None
        try:
            self._playwright = _driver()
            self._browser = self._launch(self._playwright, program)
            self._context = self._browser.new_context(
                viewport={"width": settings.width, "height": settings.height},
                device_scale_factor=settings.scale,
                accept_downloads=False,
                service_workers="block",
            )
            self._context.route("**/*", self._on_request)
            self._context.route_web_socket("**", self._on_web_socket)
            self._page = self._context.new_page()
            self._context.on("page", self._on_popup)
            self._page.on("dialog", self._on_dialog)
            # A redirect is seen by the proxy only; Chromium's own requests, which it refuses too, are no page's.
            self._page.on("requestfailed", lambda request: self._on_failed(request.url))
            self._page.on("download", lambda download: self._note("refused a download"))
            self._devtools = self._context.new_cdp_session(self._page)
            for domain in ("DOM", "DOMSnapshot", "Accessibility", "Page"):
                self._devtools.send(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def _launch(self, playwright: Playwright, program: str) -> Browser:
        try:
            return playwright.chromium.launch(
                executable_path=program,
                args=list(_QUIET),
                chromium_sandbox=self._settings.sandbox,
                proxy={"server": f"http://127.0.0.1:{self._proxy.port}"},
            )
        except BrowserError as error:
            if any(words in str(error) for words in _NO_SANDBOX):
                raise CommandError(
                    "Chromium gets no sandbox on this machine: as root, apt-get install chromium-sandbox, or let users "
                    "make namespaces; for pages that you trust, run it without (--no-sandbox)"
                ) from error
            raise CommandError(f"{program} does not start: {printable(str(error).splitlines()[0], 200)}") from error

    def __enter__(self) -> PageBrowser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the browser; its profile goes with it."""
        if self._playwright is not None:
            self._playwright.stop()
            self._playwright = None
        self._proxy.close()

    @property
    def page(self) -> Page:
        """Playwright's page, for what this class does not do."""
        return self._page

    def refused(self) -> list[str]:
        """What the page asked for and was refused since the last call; each once."""
        found, self._refused = list(dict.fromkeys(self._refused)), []
        return found

    def open(self, address: str) -> None:
        """Goes to an address that a person gave. ScreenError: it is not allowed, or nothing answers there."""
        reason = refuse_request(address, "GET", self._allowed, folder=self._settings.folder, navigates=True)
        if reason:
            raise ScreenError(reason)
        try:
            self._page.goto(address, timeout=_TIMEOUT_MS, wait_until="domcontentloaded")
        except BrowserError as error:
            raise ScreenError(f"{address} cannot be opened: {printable(error.message.splitlines()[0], 200)}") from error
        self._settle()

    def elements(self) -> list[Element]:
        """Everything on the page, as the browser itself sees it now."""
        return read_snapshot(self._devtools.send("DOMSnapshot.captureSnapshot", {"computedStyles": list(STYLES)}))

    def view(self) -> View:
        """The page as it looks now, and what on it can be acted on and is not covered."""
        return View(self.screenshot(), self.candidates(self.elements()), self._page.url)

    def candidates(self, elements: Sequence[Element]) -> list[Candidate]:
        """What of the page's elements, as they are now, can be acted on and is not covered; in pixels of the
        screenshot."""
        return self.reached(page_candidates(elements), elements)

    def accessible_view(self) -> View:
        """The same with what the accessibility tree offers instead."""
        image, elements = self.screenshot(), self.elements()
        found = accessibility_candidates(self._devtools.send("Accessibility.getFullAXTree"), elements)
        return View(image, self.reached(found, elements), self._page.url)

    def screenshot(self) -> np.ndarray:
        """uint8 (H, W, 3) rgb."""
        png = self._page.screenshot(animations="disabled", caret="hide", timeout=_TIMEOUT_MS)
        return np.asarray(Image.open(BytesIO(png)).convert("RGB"))

    def reached(self, candidates: Sequence[Candidate], elements: Sequence[Element]) -> list[Candidate]:
        """Those of the candidates that a click at their centre would reach, one per thing, in pixels of the image."""
        indices = {str(element.node): index for index, element in enumerate(elements)}
        reached = [
            candidate
            for candidate in tidied(candidates, self._settings.width, self._settings.height)
            if self._hits(elements, indices[candidate.key], candidate.centre) is not None
        ]
        return [_scaled(candidate, self._settings.scale) for candidate in reached]

    def perform(self, act: Act) -> str:
        """Carries an action out. Returns why it was not, "" when it was; then nothing on the page was touched but that
        the mouse may be over it."""
        if act.candidate is None or act.action.kind not in (Kind.CLICK, Kind.TYPE, Kind.SELECT):
            return f"{act.action.kind.value} without a candidate cannot be done on a web page"
        try:
            return self._perform(act, _scaled(act.candidate, 1.0 / self._settings.scale))
        except BrowserError as error:
            return f"the browser could not do it: {printable(error.message.splitlines()[0], 200)}"
        finally:
            self._agreed = False

    def _perform(self, act: Act, shown: Candidate) -> str:
        found = self._still_there(shown, self.elements())
        if isinstance(found, str):
            return found
        # Pages may change when the mouse comes over them: what is judged is what is there then.
        self._page.mouse.move(*found.centre)
        elements = self.elements()
        again = self._still_there(found, elements)
        if isinstance(again, str):
            return again
        index = next(number for number, item in enumerate(elements) if str(item.node) == again.key)
        hit = self._hits(elements, index, again.centre)
        if hit is None:
            return f"something covers {_named(again)}"
        risks = risks_of(act.action, elements, hit, self._page.url, self._allowed)
        what = f"{act.action.kind.value} {_named(again)}" + (f": {act.action.text!r}" if act.action.text else "")
        if risks:
            if not self._agree(what, risks):
                return f"nobody agreed to {what}, which may {' and '.join(risk.value for risk in risks)}"
            self._agreed = True
        self._asked_for = None
        x, y = again.centre
        if act.action.kind is Kind.SELECT and elements[index].tag == "SELECT":
            done = self._choose(elements[index].node, act.action.text)
        else:
            self._page.mouse.click(x, y)
            done = ""
            if act.action.kind is Kind.TYPE:
                done = self._type(elements[index].node, act.action.text)
        self._settle()
        return done or self._after()

    def _still_there(self, shown: Candidate, elements: Sequence[Element]) -> Candidate | str:
        now = next((item for item in page_candidates(elements) if item.key == shown.key), None)
        if now is None:
            return f"{_named(shown)} is not there any more"
        if max(abs(a - b) for a, b in zip(now.box, shown.box, strict=True)) > MOVED_PX and not _cut(shown, now):
            return f"{_named(shown)} has moved since it was looked at"
        if now.name != shown.name:
            return f"{_named(shown)} says something else now: {now.name!r}"
        return Candidate(shown.box, now.role, now.name, now.value, key=now.key) if _cut(shown, now) else now

    def _hits(self, elements: Sequence[Element], index: int, point: tuple[float, float]) -> int | None:
        """Index of what a click at `point` (CSS pixels) reaches, when that is the element, in it, or its label."""
        try:
            answer = self._devtools.send(
                "DOM.getNodeForLocation", {"x": int(point[0]), "y": int(point[1]), "includeUserAgentShadowDOM": False}
            )
        except BrowserError:
            return None  # nothing is there
        node = answer.get("backendNodeId")
        hit = next((number for number, item in enumerate(elements) if item.node == node), None)
        above = hit
        while above is not None and above >= 0:
            if above == index or (elements[above].tag == "LABEL" and elements[index].parent == above):
                return hit
            above = elements[above].parent
        # Text has no element of its own: then the browser names the text's node.
        return index if hit is None and self._holds(elements[index].node, node) else None

    def _holds(self, outer: int, inner: Any) -> bool:
        found = self._devtools.send("DOM.describeNode", {"backendNodeId": outer, "depth": -1, "pierce": True})
        waiting = [found["node"]]
        while waiting:
            node = waiting.pop()
            if node.get("backendNodeId") == inner:
                return True
            waiting += node.get("children", []) + node.get("shadowRoots", [])
        return False

    def _type(self, node: int, text: str) -> str:
        focused = self._in_own_world("document.activeElement")
        if focused is not None and focused != node and not self._holds(node, focused):
            return "the page took the keyboard elsewhere, so nothing was typed"
        self._page.keyboard.press("Control+A")
        self._page.keyboard.type(text, delay=KEY_MS)
        return ""

    def _choose(self, node: int, words: str) -> str:
        made = self._devtools.send("DOM.resolveNode", {"backendNodeId": node, "executionContextId": self._world()})
        answer = self._devtools.send(
            "Runtime.callFunctionOn",
            {
                "objectId": made["object"]["objectId"],
                "functionDeclaration": _CHOOSE,
                "arguments": [{"value": " ".join(words.split())}],
                "returnByValue": True,
            },
        )
        return "" if answer["result"].get("value") else f"{words!r} is not offered"

    def _world(self) -> int:
        """A JavaScript world of our own in the page, whose functions the page cannot have changed."""
        tree = self._devtools.send("Page.getFrameTree")
        return int(
            self._devtools.send("Page.createIsolatedWorld", {"frameId": tree["frameTree"]["frame"]["id"]})[
                "executionContextId"
            ]
        )

    def _in_own_world(self, expression: str) -> int | None:
        """The node that an expression gives, by the browser's number; None for a frame, which is a page of its own."""
        answer = self._devtools.send("Runtime.evaluate", {"expression": expression, "contextId": self._world()})
        name = answer["result"].get("objectId")
        if name is None or "iframe" in answer["result"].get("description", "").lower():
            return None
        return int(self._devtools.send("DOM.describeNode", {"objectId": name})["node"]["backendNodeId"])

    def _after(self) -> str:
        """Follows a link that wanted a window of its own, and goes back from where it may not be."""
        wanted, self._asked_for = self._asked_for, None
        if wanted is not None and origin_of(wanted) in self._allowed:
            self.open(wanted)
        url = self._page.url
        if origin_of(url) not in self._allowed and not file_in(url, self._settings.folder) and url != "about:blank":
            self._page.go_back(timeout=_TIMEOUT_MS)
            return f"the page went to {printable(url, 100)}, which is not allowed; gone back"
        return ""

    def _settle(self) -> None:
        self._page.wait_for_timeout(self._settings.settle_ms)
        try:
            self._page.wait_for_load_state("domcontentloaded", timeout=_TIMEOUT_MS)
        except BrowserError:
            self._note("the page is still loading")

    def _note(self, what: str) -> None:
        self._refused.append(what)

    def _on_request(self, route: Route) -> None:
        request = route.request
        folder, navigates = self._settings.folder, request.is_navigation_request()
        reason = refuse_request(request.url, request.method, self._allowed, folder=folder, navigates=navigates)
        if reason and self._agreed_to(request.method, request.url):
            reason = refuse_request(
                request.url, request.method, self._allowed, folder=folder, navigates=navigates, agreed=True
            )
        if reason:
            self._note(f"refused: {reason}")
            route.abort("blockedbyclient")
        else:
            route.continue_()

    def _on_failed(self, address: str) -> None:
        if origin_of(address) not in self._allowed:
            self._note(f"refused: {printable(address, 100)} is not at an allowed address")

    def _agreed_to(self, method: str, address: str) -> bool:
        """Whether a person has agreed to what led to a request, or agrees to it now; asked once for each address."""
        if self._agreed or method in READING or origin_of(address) not in self._allowed:
            return self._agreed
        key = (method, address.partition("?")[0])
        if key not in self._answers:
            self._answers[key] = self._agree(f"{method} {printable(address, 100)}", {Risk.SUBMIT: "the page sends it"})
        return self._answers[key]

    def _on_web_socket(self, socket: WebSocketRoute) -> None:
        self._note(f"refused a WebSocket to {printable(socket.url, 100)}")
        socket.close()

    def _on_dialog(self, dialog: Dialog) -> None:
        self._note(f"refused the page's {dialog.type}")
        dialog.dismiss()

    def _on_popup(self, page: Page) -> None:
        if page is not self._page:
            self._asked_for = page.url
            self._note(f"closed a window with {printable(page.url, 100)}")
            page.close()


def _scaled(candidate: Candidate, scale: float) -> Candidate:
    x1, y1, x2, y2 = (scale * value for value in candidate.box)
    return replace(candidate, box=(x1, y1, x2, y2))


def _cut(shown: Candidate, now: Candidate) -> bool:
    """Whether the box that was shown is the part of the whole one that the view held."""
    return all(
        (low >= whole_low - 1.0 and high <= whole_high + 1.0)
        for low, high, whole_low, whole_high in (
            (shown.box[0], shown.box[2], now.box[0], now.box[2]),
            (shown.box[1], shown.box[3], now.box[1], now.box[3]),
        )
    ) and (
        shown.box[0] <= 1.0 or shown.box[1] <= 1.0 or now.box[2] - shown.box[2] > 1.0 or now.box[3] - shown.box[3] > 1.0
    )


def _named(candidate: Candidate) -> str:
    return f"[{candidate.role or 'element'}] {printable(candidate.name, 60)!r}"
