"""The door by real sockets: what it refuses, what it lets through, and that the pages behind it never hold it up."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from magma_console.config import LOOPBACK_NAMES, ConsoleConfig
from magma_console.connections import door
from magma_console.connections.access import Access
from magma_console.connections.door import Door
from magma_console.connections.lobby import MOST_WAITING, Lobby
from magma_console.connections.loop_bridge import LoopBridge
from magma_console.connections.operators import Operators
from magma_console.connections.picture_stream import PictureStreams
from magma_console.robot.pictures import HEAD, NewestPicture
from magma_console.robot.robot_view import RobotView
from magma_console.robot.view_state import ESTOP, Controller
from magma_contracts.errors import ConfigError
from magma_teleop.operator_device import ArmPose

PATIENCE_S = 60.0
TOKEN = "a token that is long enough"


class Link:
    """The robot's side, played."""

    def __init__(self):
        self.asked, self.commands, self.beats, self.instructions = [], [], [], []
        self.answers = True

    def now_ns(self):
        return time.time_ns()

    def command(self, delta, stamp_ns, identity):
        self.commands.append((delta, stamp_ns, identity))

    def beat(self, identity, status):
        self.beats.append((identity, status))

    def ask(self, service, answer):
        self.asked.append(service)
        if self.answers:
            answer(True, "done")

    def instruct(self, text, asked_by, answer):
        self.instructions.append((text, asked_by))
        answer(True, "")


class Pointing:
    """The model that points, played: the proposals have numbers from 1 on."""

    def __init__(self):
        self.asked = []

    def ask(self, name, request, answer):
        self.asked.append((name, request))
        answer({"ok": True, "text": "", **({"proposal": len(self.asked)} if name == "refer" else {})})


class Served:
    """A door with what is behind it."""

    def __init__(self, token=None, **config):
        self.config = ConsoleConfig(expiry_s=1.0, **config)
        self.link = Link()
        self.pictures = {"camera": NewestPicture()}
        self.view = RobotView(lambda: 2.0, self.pictures)
        self.pointing = Pointing()
        self.operators = Operators(lambda: self.config, self.link, self.pointing, self.view)
        self.inner = asyncio.new_event_loop()
        threading.Thread(target=self.inner.run_forever, daemon=True).start()
        self.streams = PictureStreams(lambda: self.config, self.pictures)
        access = Access(token, True, LOOPBACK_NAMES)
        self.door = Door(self.config, access, self.operators, self.streams, LoopBridge(self.page, self.inner))
        self.door.start()
        self.host = self.door.address.removeprefix("http://").strip("/")

    async def page(self, scope, receive, send):
        if scope["path"] == "/slow":
            time.sleep(3600.0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page of " + scope["path"].encode()})

    def request(self, method, path, headers=None, body=None, timeout=30.0):
        connection = http.client.HTTPConnection(self.host, timeout=timeout)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        answer.text = answer.read().decode()
        return answer

    def page_socket(self, path="/console/operator", origin=None, cookie=None):
        headers = {"Cookie": cookie} if cookie else None
        return connect(
            f"ws://{self.host}{path}", origin=origin or f"http://{self.host}", additional_headers=headers, proxy=None
        )

    def close(self):
        self.door.close()
        self.streams.close()


@pytest.fixture
def serve():
    opened = []

    def start(*given, **config):
        opened.append(Served(*given, **config))
        return opened[-1]

    yield start
    for served in opened:
        served.close()


def until(page, wanted):
    """The first message that `wanted` likes."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        message = json.loads(page.recv(timeout=PATIENCE_S))
        if wanted(message):
            return message
    pytest.fail("no such message came")


def intent(sequence, as_of, held, forward=0.0):
    return json.dumps(
        {
            "type": "intent",
            "seq": sequence,
            "as_of": as_of,
            "held": held,
            "motion": [forward, 0, 0, 0, 0, 0],
            "speed": 1.0,
            "frame": "base",
            "gripper": 0,
        }
    )


def test_what_is_not_the_doors_own_goes_to_the_page(serve):
    served = serve()
    answer = served.request("GET", "/anything")
    assert answer.status == 200 and answer.text == "page of /anything"
    assert answer.headers["X-Frame-Options"] == "DENY" and "frame-ancestors 'none'" in str(answer.headers)
    assert served.request("GET", "/console/static/console.css").status == 200


def test_requests_of_other_pages_stop_and_change_nothing(serve):
    served = serve()
    evil = {"Origin": "http://evil.example"}
    assert served.request("POST", "/console/estop", evil).status == 403
    assert served.request("POST", "/console/estop").status == 403, "no browser leaves the origin out"
    assert served.request("GET", "/", {"Host": "evil.example"}).status == 403
    for path in ("/console/operator", "/console/pictures/camera", "/_nicegui_ws/socket.io/"):
        with pytest.raises(InvalidStatus):
            served.page_socket(path, origin="http://evil.example")
    assert served.link.asked == []


def test_a_token_is_asked_for_everywhere(serve):
    served = serve(TOKEN)
    own = {"Origin": f"http://{served.host}"}
    assert served.request("GET", "/").headers["Location"] == "/console/login"
    assert served.request("GET", "/anything").status == 401
    assert served.request("POST", "/console/estop", own).status == 401
    with pytest.raises(InvalidStatus):
        served.page_socket()
    assert served.request("GET", "/?token=wrong").status == 401
    form = {**own, "Content-Type": "application/x-www-form-urlencoded"}
    assert served.request("POST", "/console/login", form, "token=wrong").status == 401
    assert served.request("POST", "/console/login", form, "token=" + "x" * 10000).status == 413
    opened = served.request("GET", "/?token=" + TOKEN.replace(" ", "+"))
    assert opened.status == 303 and opened.headers["Location"] == "/", "the token does not stay in the address"
    cookie = opened.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower() and TOKEN not in cookie
    session = cookie.partition(";")[0]
    assert served.request("GET", "/", {"Cookie": session}).text == "page of /"
    with served.page_socket(cookie=session) as page:
        assert "state" in until(page, lambda message: "state" in message)
    assert [served.request("GET", "/?token=wrong").status for _ in range(6)][-1] == 429


def test_two_consoles_on_one_machine_keep_their_cookies_apart(serve):
    # Browsers send a cookie to every port of a host, and a second one of its name replaces the first.
    sessions = {}
    served = [serve(TOKEN), serve(TOKEN)]
    for one in served:
        opened = one.request("GET", "/?token=" + TOKEN.replace(" ", "+"))
        name, _, value = opened.headers["Set-Cookie"].partition(";")[0].partition("=")
        sessions[name] = value
    header = {"Cookie": "; ".join(f"{name}={value}" for name, value in sessions.items())}
    assert [one.request("GET", "/", header).status for one in served] == [200, 200]
    swapped = {"Cookie": "; ".join(f"{a}={b}" for a, b in zip(sessions, reversed(sessions.values()), strict=True))}
    assert [one.request("GET", "/anything", swapped).status for one in served] == [401, 401]


@pytest.mark.parametrize("token", [None, TOKEN])
def test_every_answer_forbids_frames_and_keeps_the_address_to_itself(serve, token):
    served = serve(token)
    for method, path, headers in (
        ("GET", "/", {}),
        ("GET", "/?token=wrong", {}),
        ("GET", "/console/login", {}),
        ("GET", "/anything", {}),
        ("GET", "/", {"Host": "evil.example"}),
        ("POST", "/console/estop", {}),
        ("DELETE", "/", {}),
        ("GET", "//evil.example/?token=x", {}),
        ("GET", "/\\\\evil.example/?token=x", {}),
    ):
        answer = served.request(method, path, headers)
        assert answer.headers["X-Frame-Options"] == "DENY" and answer.headers["Referrer-Policy"] == "same-origin"
        assert "default-src" in answer.headers["Content-Security-Policy"]
        where = answer.headers.get("Location", "/")
        assert where.startswith("/") and not where.startswith(("//", "/\\")), "leads to no other page"


def test_a_thousand_connections_that_say_nothing_shut_nobody_out(serve):
    served = serve()
    host, port = served.host.split(":")
    silent = []
    with served.page_socket() as page:
        until(page, lambda message: "state" in message)
        for number in range(1000):
            silent.append(socket.create_connection((host, int(port)), timeout=30.0))
            if number % 2:
                silent[-1].sendall(b"GET / HTTP/1.1\r\nHost: " + b"x" * (number % 50))
        assert served.request("POST", "/console/estop", {"Origin": f"http://{served.host}"}).status == 200
        page.send(json.dumps({"type": "estop"}))
        until(page, lambda message: any(answer["ok"] for answer in message.get("answers", [])))
        open_ones = sum(one.fileno() >= 0 and not _ended(one) for one in silent)
        assert open_ones <= MOST_WAITING
    for one in silent:
        one.close()


def _ended(connection):
    connection.settimeout(0.0)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_who_says_nothing_for_long_is_let_go_and_who_has_a_page_is_not():
    async def wait():
        loop = asyncio.get_running_loop()
        lobby = Lobby(most=2, patience_s=0.05)
        silent, asked, first, second, third = (Transport() for _ in range(5))
        lobby.enter(silent, loop)
        lobby.enter(asked, loop)
        lobby.leave(asked)
        while not silent.closed:
            await asyncio.sleep(0.01)
        patient = Lobby(most=2, patience_s=3600.0)
        for one in (first, second, third):
            patient.enter(one, loop)
        kept = [one.closed for one in (first, second, third)]
        for one in (second, third):
            patient.leave(one)
        return asked.closed, kept, len(lobby), len(patient)

    assert asyncio.run(wait()) == (False, [True, False, False], 0, 0)


class Transport:
    closed = False

    def close(self):
        self.closed = True


def test_a_form_that_never_ends_is_not_waited_for(serve, monkeypatch):
    monkeypatch.setattr(door, "FORM_S", 0.2)
    served = serve(TOKEN)
    host, port = served.host.split(":")
    with socket.create_connection((host, int(port)), timeout=30.0) as slow:
        head = f"POST /console/login HTTP/1.1\r\nHost: {served.host}\r\nOrigin: http://{served.host}\r\n"
        slow.sendall(f"{head}Content-Length: 100\r\n\r\ntok".encode())
        assert b"408" in slow.recv(100)


def test_a_page_confirms_only_what_it_was_shown(serve):
    served = serve()
    place = {"type": "refer", "places": [[0, 0, 1, 1]]}

    def ask(page, message):
        page.send(json.dumps(message))
        return until(page, lambda heard: heard.get("answers"))["answers"][0]

    with served.page_socket() as first, served.page_socket() as second:
        assert ask(first, place)["proposal"] == 1
        assert not ask(second, {"type": "confirm", "proposal": 1})["ok"]
        assert ask(first, {"type": "confirm", "proposal": 1})["ok"]
        assert not ask(first, {"type": "confirm", "proposal": 1})["ok"], "once"
        assert "a place lies in the picture" in ask(first, {"type": "refer", "places": [[0, 0, 0, 10**400]]})["text"]
        assert [name for name, _ in served.pointing.asked] == ["refer", "confirm"]
        assert served.pointing.asked[1][1].asked_by == "console1"


def test_pages_that_hang_hold_up_neither_stop_nor_operator(serve):
    served = serve()
    hanging = http.client.HTTPConnection(served.host)
    hanging.request("GET", "/slow")
    assert served.request("POST", "/console/estop", {"Origin": f"http://{served.host}"}).status == 200
    assert served.link.asked == ["magma/estop"]
    with served.page_socket() as page:
        first = until(page, lambda message: "state" in message)
        assert first["state"]["phase"] == "NO CONTROLLER"
    hanging.close()


def test_a_page_takes_hold_and_its_end_is_the_end_of_its_commands(serve):
    served = serve()
    served.view.pose(ArmPose(np.array([1.0, 0, 0, 0]), 1.0), np.zeros(3), 1.0, time.clock_gettime(time.CLOCK_BOOTTIME))
    with served.page_socket() as page:
        for sequence in range(1, 400):
            told = until(page, lambda message: True)["t"]
            page.send(intent(sequence, told, sequence > 1, 1.0))
            if len(served.link.commands) >= 2:
                break
        name = until(page, lambda message: "me" in message)["me"]["name"]
    delta, stamp_ns, identity = served.link.commands[0]
    assert delta[0] == pytest.approx(0.03) and identity == name and abs(stamp_ns - time.time_ns()) < 60e9
    assert served.link.beats[0][1].engaged, "a heartbeat goes before the first command"
    deadline_s = time.monotonic() + PATIENCE_S
    while served.link.beats[-1][1].connected and time.monotonic() < deadline_s:
        time.sleep(0.01)
    sent = len(served.link.commands)
    time.sleep(0.5)
    assert len(served.link.commands) == sent and served.operators.pages == 0


def test_what_is_no_message_ends_the_connection_and_moves_nothing(serve):
    served = serve()
    for text in ("", "{", "[]", "5", '{"kind": "intent"}', "x" * 3000, "[" * 2000, b"{}", "x" * 2_000_000):
        # The longest is refused while it is still being sent: the end may be told to the sender already.
        with served.page_socket() as page, pytest.raises(ConnectionClosed):
            page.send(text)
            until(page, lambda message: False)
    with served.page_socket() as page:
        until(page, lambda message: "me" in message)
        for number in (10**400, -(10**400)):
            wild = json.loads(intent(1, 0, False))
            page.send(json.dumps({**wild, "as_of": number}))
            until(page, lambda message: "too large" in message.get("me", {}).get("notice", ""))
        page.send(json.dumps({"type": "intent", "seq": 1}))
        notice = until(page, lambda message: "missing" in message.get("me", {}).get("notice", ""))
        assert notice and served.link.commands == []


def test_requests_are_not_too_many_and_stops_never_are(serve):
    served = serve()
    with served.page_socket() as page:
        for _ in range(40):
            page.send(json.dumps({"type": "instruct", "text": "put <b>this</b>\nthere"}))
        until(page, lambda message: any("too many" in answer["text"] for answer in message.get("answers", [])))
        assert 10 <= len(served.link.instructions) < 40
        assert served.link.instructions[0] == ("put <b>this</b> there", "console1")
        page.send(json.dumps({"type": "estop"}))
        until(page, lambda message: any(answer["to"] == "estop" for answer in message.get("answers", [])))
        assert served.link.asked == ["magma/estop"]


def test_a_stop_that_nobody_answers_is_told_and_asked_again(serve):
    served = serve()
    served.link.answers = False
    with served.page_socket() as page:
        page.send(json.dumps({"type": "estop"}))
        refused = until(page, lambda message: any(answer["to"] == "estop" for answer in message.get("answers", [])))
        assert not refused["answers"][0]["ok"] and "OWN EMERGENCY STOP" in refused["answers"][0]["text"]
        served.link.answers = True
        page.send(json.dumps({"type": "estop"}))
        until(page, lambda message: any(answer["ok"] for answer in message.get("answers", [])))
    assert served.link.asked == ["magma/estop"] * 2


def test_a_rearm_has_to_be_held(serve):
    served = serve(rearm_hold_s=0.5)
    with served.page_socket() as page:
        for held in (True, False, True, False):
            page.send(json.dumps({"type": "rearm", "held": held}))
        until(page, lambda message: "state" in message)
        assert served.link.asked == []
        for _ in range(100):
            page.send(json.dumps({"type": "rearm", "held": True}))
            time.sleep(0.1)
            if served.link.asked:
                break
    assert served.link.asked == ["magma/rearm"]


def test_a_change_of_phase_is_told_at_once_and_with_its_reason(serve):
    served = serve()
    with served.page_socket() as page:
        until(page, lambda message: "state" in message)
        nothing = {"frame": float("nan")}
        served.view.controller(Controller(ESTOP, "pressed <b>", "", nothing, 0, 0, 0, 0, {}), time.clock_gettime(7))
        served.door.soon(lambda: served.operators.changed(True))
        told = until(page, lambda message: message.get("state", {}).get("phase") == "ESTOP")
        assert told["state"]["reason"] == "pressed <b>"
        assert ["alarm", "ESTOP: pressed <b>"] in [event[1:] for event in told["events"]]


def test_slow_viewers_get_the_newest_picture_and_never_a_queue(serve):
    served = serve()

    def put(value):
        served.pictures["camera"].put(value, lambda: np.full((8, 8, 3), value, np.uint8), 0.0)

    put(1)
    with served.page_socket("/console/pictures/camera") as page:
        page.send("next")
        assert HEAD.unpack_from(page.recv(timeout=PATIENCE_S))[0] == 1
        for value in range(2, 60):
            put(value)
        with pytest.raises(TimeoutError):
            page.recv(timeout=0.3)
        page.send("next")
        assert HEAD.unpack_from(page.recv(timeout=PATIENCE_S))[0] == 59
    with pytest.raises(InvalidStatus):
        served.page_socket("/console/pictures/other")


def test_pages_are_not_too_many(serve):
    served = serve(max_viewers=2)
    pages = [served.page_socket() for _ in range(2)]
    for page in pages:
        until(page, lambda message: "state" in message)
    with pytest.raises(InvalidStatus):
        served.page_socket()
    for page in pages:
        page.close()


def test_a_port_that_is_taken_is_said_to_be_so_and_the_next_free_one_is_found(serve):
    first, second = serve(), serve()
    assert first.host != second.host
    with pytest.raises(ConfigError, match="cannot be used"):
        serve(port=int(first.host.rpartition(":")[2]))
