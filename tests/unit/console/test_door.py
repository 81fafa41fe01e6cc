"""The door by real sockets: what it refuses, what it lets through, and that the pages behind it never hold it up."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from magma_console.access import COOKIE, Access
from magma_console.config import LOOPBACK_NAMES, ConsoleConfig
from magma_console.door import Door
from magma_console.loop_bridge import LoopBridge
from magma_console.operators import Operators
from magma_console.picture_stream import PictureStreams
from magma_console.pictures import HEAD, NewestPicture
from magma_console.robot_view import RobotView
from magma_console.view_state import ESTOP, Controller
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


class Served:
    """A door with what is behind it."""

    def __init__(self, token=None, **config):
        self.config = ConsoleConfig(expiry_s=1.0, **config)
        self.link = Link()
        self.pictures = {"camera": NewestPicture()}
        self.view = RobotView(lambda: 2.0, self.pictures)
        self.operators = Operators(lambda: self.config, self.link, self.view)
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
        headers = {"Cookie": f"{COOKIE}={cookie}"} if cookie else None
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


def until(socket, wanted):
    """The first message that `wanted` likes."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        message = json.loads(socket.recv(timeout=PATIENCE_S))
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
    session = cookie.partition("=")[2].partition(";")[0]
    assert served.request("GET", "/", {"Cookie": f"{COOKIE}={session}"}).text == "page of /"
    with served.page_socket(cookie=session) as socket:
        assert "state" in until(socket, lambda message: "state" in message)
    assert [served.request("GET", "/?token=wrong").status for _ in range(6)][-1] == 429


def test_pages_that_hang_hold_up_neither_stop_nor_operator(serve):
    served = serve()
    hanging = http.client.HTTPConnection(served.host)
    hanging.request("GET", "/slow")
    assert served.request("POST", "/console/estop", {"Origin": f"http://{served.host}"}).status == 200
    assert served.link.asked == ["magma/estop"]
    with served.page_socket() as socket:
        first = until(socket, lambda message: "state" in message)
        assert first["state"]["phase"] == "NO CONTROLLER"
    hanging.close()


def test_a_page_takes_hold_and_its_end_is_the_end_of_its_commands(serve):
    served = serve()
    served.view.pose(ArmPose(np.array([1.0, 0, 0, 0]), 1.0), np.zeros(3), 1.0, time.clock_gettime(time.CLOCK_BOOTTIME))
    with served.page_socket() as socket:
        for sequence in range(1, 400):
            told = until(socket, lambda message: True)["t"]
            socket.send(intent(sequence, told, sequence > 1, 1.0))
            if len(served.link.commands) >= 2:
                break
        name = until(socket, lambda message: "me" in message)["me"]["name"]
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
    for text in ("", "{", "[]", "5", '{"kind": "intent"}', "x" * 3000, "[" * 2000):
        with served.page_socket() as socket:
            socket.send(text)
            with pytest.raises(ConnectionClosed):
                until(socket, lambda message: False)
    with served.page_socket() as socket:
        until(socket, lambda message: "me" in message)
        socket.send(json.dumps({"type": "intent", "seq": 1}))
        notice = until(socket, lambda message: "missing" in message.get("me", {}).get("notice", ""))
        assert notice and served.link.commands == []


def test_requests_are_not_too_many_and_stops_never_are(serve):
    served = serve()
    with served.page_socket() as socket:
        for _ in range(40):
            socket.send(json.dumps({"type": "instruct", "text": "put <b>this</b>\nthere"}))
        until(socket, lambda message: any("too many" in answer["text"] for answer in message.get("answers", [])))
        assert 10 <= len(served.link.instructions) < 40
        assert served.link.instructions[0] == ("put <b>this</b> there", "console1")
        socket.send(json.dumps({"type": "estop"}))
        until(socket, lambda message: any(answer["to"] == "estop" for answer in message.get("answers", [])))
        assert served.link.asked == ["magma/estop"]


def test_a_stop_that_nobody_answers_is_told_and_asked_again(serve):
    served = serve()
    served.link.answers = False
    with served.page_socket() as socket:
        socket.send(json.dumps({"type": "estop"}))
        refused = until(socket, lambda message: any(answer["to"] == "estop" for answer in message.get("answers", [])))
        assert not refused["answers"][0]["ok"] and "OWN EMERGENCY STOP" in refused["answers"][0]["text"]
        served.link.answers = True
        socket.send(json.dumps({"type": "estop"}))
        until(socket, lambda message: any(answer["ok"] for answer in message.get("answers", [])))
    assert served.link.asked == ["magma/estop"] * 2


def test_a_rearm_has_to_be_held(serve):
    served = serve(rearm_hold_s=0.5)
    with served.page_socket() as socket:
        for held in (True, False, True, False):
            socket.send(json.dumps({"type": "rearm", "held": held}))
        until(socket, lambda message: "state" in message)
        assert served.link.asked == []
        for _ in range(100):
            socket.send(json.dumps({"type": "rearm", "held": True}))
            time.sleep(0.1)
            if served.link.asked:
                break
    assert served.link.asked == ["magma/rearm"]


def test_a_change_of_phase_is_told_at_once_and_with_its_reason(serve):
    served = serve()
    with served.page_socket() as socket:
        until(socket, lambda message: "state" in message)
        nothing = {"frame": float("nan")}
        served.view.controller(Controller(ESTOP, "pressed <b>", "", nothing, 0, 0, 0, 0, {}), time.clock_gettime(7))
        served.door.soon(lambda: served.operators.changed(True))
        told = until(socket, lambda message: message.get("state", {}).get("phase") == "ESTOP")
        assert told["state"]["reason"] == "pressed <b>"
        assert ["alarm", "ESTOP: pressed <b>"] in [event[1:] for event in told["events"]]


def test_slow_viewers_get_the_newest_picture_and_never_a_queue(serve):
    served = serve()

    def put(value):
        served.pictures["camera"].put(value, lambda: np.full((8, 8, 3), value, np.uint8), 0.0)

    put(1)
    with served.page_socket("/console/pictures/camera") as socket:
        socket.send("next")
        assert HEAD.unpack_from(socket.recv(timeout=PATIENCE_S))[0] == 1e-9
        for value in range(2, 60):
            put(value)
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.3)
        socket.send("next")
        assert HEAD.unpack_from(socket.recv(timeout=PATIENCE_S))[0] == pytest.approx(59e-9)
    with pytest.raises(InvalidStatus):
        served.page_socket("/console/pictures/other")


def test_pages_are_not_too_many(serve):
    served = serve(max_viewers=2)
    sockets = [served.page_socket() for _ in range(2)]
    for socket in sockets:
        until(socket, lambda message: "state" in message)
    with pytest.raises(InvalidStatus):
        served.page_socket()
    for socket in sockets:
        socket.close()


def test_a_port_that_is_taken_is_said_to_be_so_and_the_next_free_one_is_found(serve):
    first, second = serve(), serve()
    assert first.host != second.host
    with pytest.raises(ConfigError, match="cannot be used"):
        serve(port=int(first.host.rpartition(":")[2]))
