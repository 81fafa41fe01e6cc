"""The pages that are open, as operators: their connections, commands, requests, and the state that they are told.

Lives in the door's loop. What an operator asks for goes out as any operator device's commands do, and the controller's
lease and safety stage judge it there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from magma_common.process.clocks import steady_s
from magma_console.config import ConsoleConfig
from magma_console.connections.access import RateLimit
from magma_console.connections.operator_session import HeldPress, Intent, IntentError, Limits, OperatorSession
from magma_console.robot.pointing import CONFIRM, KINDS, PointingError, request_of
from magma_console.robot.pointing_link import PointingLink
from magma_console.robot.robot_link import ESTOP, HAND_BACK, REARM, RobotLink
from magma_console.robot.robot_view import RobotView
from magma_contracts.text import one_line
from magma_teleop.identity import operator_identity

TELL_PERIOD_S = 0.05
"""How often a page is told the time: what it sends back is at least so old."""
STATE_PERIOD_S = 0.1
WORK_PERIOD_S = 0.01
BEAT_PERIOD_S = 0.1
ANSWER_S = 2.0
"""Longest wait for an answer of the controller."""
POINTING_ANSWER_S = 150.0
"""And for one of the model that points, which is loaded by the first question."""
ESTOP_AGAIN_S = 0.25
"""Presses within so long are one; later ones ask the controller again, whether it answered or not."""
MOST_BYTES = 2048
LONGEST_INSTRUCTION = 200
MOST_ANSWERS = 50
"""That wait for a slow page."""
HOLDER_SILENT_S = 1.0
"""After so long without a sign of life an operator's arm may be handed back by others."""
AnswerT = TypeVar("AnswerT")


@dataclass
class _Visitor:
    """One open page."""

    socket: WebSocket
    identity: str
    session: OperatorSession = field(default_factory=OperatorSession)
    rearm: HeldPress = field(default_factory=HeldPress)
    rearm_heard_s: float = 0.0
    intents: RateLimit = field(default_factory=lambda: RateLimit(100.0, 100.0))
    requests: RateLimit = field(default_factory=lambda: RateLimit(5.0, 10.0))
    answers: list[dict[str, Any]] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    beaten_s: float = 0.0
    engaged: bool = False
    proposal: int = 0
    """what this page was shown last, and may confirm"""
    events: int = 0
    points: int = 0


class Operators:
    """All open pages. Everything but `changed` belongs to the door's loop."""

    def __init__(
        self, config: Callable[[], ConsoleConfig], link: RobotLink, pointing: PointingLink, view: RobotView
    ) -> None:
        self._config, self._link, self._pointing, self._view = config, link, pointing, view
        self._visitors: dict[str, _Visitor] = {}
        self._opened = 0
        self._told: tuple[float, dict[str, Any]] = (0.0, {})
        self._stop: tuple[asyncio.Future[tuple[bool, str]], float] | None = None
        """the stop asked for last, and when"""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pages(self) -> int:
        """How many are open."""
        return len(self._visitors)

    def changed(self, lost: bool) -> None:
        """The controller said something new, which every page is to know at once.

        Args:
            lost: no operator has the arm any more.
        """
        self._told = (0.0, {})
        for visitor in self._visitors.values():
            if lost:
                visitor.session.let_go()
            visitor.wake.set()

    async def work(self) -> None:
        """Sends what is due, for ever."""
        while True:
            await asyncio.sleep(WORK_PERIOD_S)
            now_s = steady_s()
            for visitor in list(self._visitors.values()):
                self._send_command(visitor, now_s)
                self._beat(visitor, now_s)

    async def connect(self, socket: WebSocket) -> None:
        """Serves one page until it goes; with it goes what it asked for."""
        if len(self._visitors) >= self._config().max_viewers:
            await socket.close(1008, "too many pages are open")
            return
        await socket.accept()
        self._opened += 1
        visitor = _Visitor(socket, operator_identity(f"console{self._opened}"))
        self._visitors[visitor.identity] = visitor
        listening = asyncio.create_task(self._listen(visitor))
        telling = asyncio.create_task(self._tell(visitor))
        try:
            await asyncio.wait({listening, telling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._visitors[visitor.identity]
            if visitor.session.ever_held:
                self._link.beat(visitor.identity, OperatorSession().status(connected=False))
            for task in (listening, telling):
                task.cancel()
            await asyncio.gather(listening, telling, return_exceptions=True)

    async def estop(self, who: str) -> tuple[bool, str]:
        """Stops the arm; presses that come while one is on its way share its answer. Whether it was taken, and why
        not."""
        for visitor in self._visitors.values():
            visitor.session.let_go("the emergency stop was pressed")
        stop, asked_s = self._stop or (None, 0.0)
        now_s = steady_s()
        if stop is None or stop.done() or now_s - asked_s > ESTOP_AGAIN_S:
            if stop is None or now_s - asked_s > ANSWER_S:
                self._view.tell("alarm", f"emergency stop pressed by {who}")
            stop = self._asked(lambda answer: self._link.ask(ESTOP, answer))
            self._stop = stop, now_s
        done, _ = await asyncio.wait({stop}, timeout=ANSWER_S)
        if done:
            return stop.result()
        return False, "the controller does not answer: USE THE ARM'S OWN EMERGENCY STOP"

    # One page

    async def _listen(self, visitor: _Visitor) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                try:
                    text = await visitor.socket.receive_text()
                except KeyError:
                    await visitor.socket.close(1003, "messages of a page are text")
                    return
                now_s = steady_s()
                if len(text) > MOST_BYTES:
                    await visitor.socket.close(1009, "a message is too long")
                    return
                try:
                    message = json.loads(text)
                    kind = message["type"]
                except (ValueError, TypeError, KeyError, RecursionError):
                    await visitor.socket.close(1008, "that is no message of a page")
                    return
                if kind == "intent":
                    self._hear(visitor, message, now_s)
                elif kind == "estop":
                    self._answer_later(visitor, "estop", self.estop(_short(visitor)))
                elif kind == "rearm":
                    self._hear_rearm(visitor, message.get("held") is True, now_s)
                elif not visitor.requests.allow(now_s):
                    self._answer(visitor, str(kind)[:20], False, "too many requests: wait a moment")
                elif kind == "hand_back":
                    self._hand_back(visitor, now_s)
                elif kind == "instruct":
                    self._instruct(visitor, message.get("text"))
                elif kind in KINDS:
                    self._point(visitor, message)

    def _hear(self, visitor: _Visitor, message: dict[str, Any], now_s: float) -> None:
        if not visitor.intents.allow(now_s):
            return
        try:
            visitor.session.hear(Intent.from_message(message), now_s, self._limits())
        except IntentError as error:
            visitor.session.notice = f"not followed: {error}"
            return
        self._send_command(visitor, now_s)

    def _limits(self) -> Limits:
        config = self._config()
        return Limits(config.step_period_s, config.max_speed_m_s, config.max_angular_speed_rad_s, config.expiry_s)

    def _send_command(self, visitor: _Visitor, now_s: float) -> None:
        limits = self._limits()
        visitor.session.expire(now_s, limits)
        if not visitor.session.due(now_s, limits):
            return
        arm = self._view.arm(now_s)
        motion = visitor.session.command(now_s, limits, arm, self._view.camera_xyzw)
        if motion is not None:
            # Before the first command there must be a heartbeat: it is what the commands are judged by.
            self._beat(visitor, now_s)
            stamp_ns = self._link.now_ns() - round((now_s - motion.as_of_s) * 1e9)
            self._link.command(motion.delta, stamp_ns, visitor.identity)

    def _beat(self, visitor: _Visitor, now_s: float) -> None:
        session = visitor.session
        changed = session.engaged != visitor.engaged
        if not session.ever_held or (now_s - visitor.beaten_s < BEAT_PERIOD_S and not changed):
            return
        visitor.beaten_s, visitor.engaged = now_s, session.engaged
        self._link.beat(visitor.identity, session.status(session.fresh(now_s, self._limits())))

    def _hear_rearm(self, visitor: _Visitor, held: bool, now_s: float) -> None:
        """Repeated while the button is held: silence is letting go."""
        if not held or now_s - visitor.rearm_heard_s > self._config().expiry_s:
            visitor.rearm.release()
        visitor.rearm_heard_s = now_s
        if not held:
            return
        visitor.rearm.press(now_s)
        if visitor.rearm.held_for(self._config().rearm_hold_s, now_s):
            self._view.tell("phase", f"re-arm asked for by {_short(visitor)}")
            self._answer_later(visitor, "rearm", self._wait(self._asked(lambda answer: self._link.ask(REARM, answer))))

    def _hand_back(self, visitor: _Visitor, now_s: float) -> None:
        holder = self._view.holder(now_s)
        if holder and holder != visitor.identity and self._view.lives(holder, now_s, HOLDER_SILENT_S):
            self._answer(visitor, "hand_back", False, f"{holder} has the arm: only that operator hands it back")
            return
        for other in self._visitors.values():
            other.session.let_go("the arm was handed back")
        future = self._asked(lambda answer: self._link.ask(HAND_BACK, answer))
        self._answer_later(visitor, "hand_back", self._wait(future))

    def _instruct(self, visitor: _Visitor, text: Any) -> None:
        if not isinstance(text, str) or len(text) > LONGEST_INSTRUCTION:
            self._answer(visitor, "instruct", False, f"an instruction has at most {LONGEST_INSTRUCTION} characters")
            return
        clean = one_line(text)
        future = self._asked(lambda answer: self._link.instruct(clean, _short(visitor), answer))
        self._answer_later(visitor, "instruct", self._wait(future))

    def _point(self, visitor: _Visitor, message: dict[str, Any]) -> None:
        """Asks the model that points. A page confirms only what it was shown itself."""
        kind = message["type"]
        try:
            request = request_of(message, _short(visitor))
        except PointingError as error:
            self._answer(visitor, kind, False, str(error))
            return
        if kind == CONFIRM and request.proposal != visitor.proposal:
            self._answer(visitor, kind, False, "this page was shown another proposal: point again")
            return
        visitor.proposal = 0

        def ask(answer: Callable[[dict[str, Any]], None]) -> None:
            self._pointing.ask(kind, request, answer)

        async def wait() -> None:
            future = self._future(ask)
            done, _ = await asyncio.wait({future}, timeout=POINTING_ANSWER_S)
            told = future.result() if done else {"ok": False, "text": "no answer: is the model still being loaded?"}
            visitor.proposal = told.get("proposal", 0)
            self._answer(visitor, kind, **told)

        self._in_background(wait())

    # Answers

    def _asked(self, ask: Callable[[Callable[[bool, str], None]], None]) -> asyncio.Future[tuple[bool, str]]:
        """The answer of another thread, for this loop."""
        return self._future(lambda answer: ask(lambda ok, text: answer((ok, text))))

    @staticmethod
    def _future(ask: Callable[[Callable[[AnswerT], None]], None]) -> asyncio.Future[AnswerT]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[AnswerT] = loop.create_future()

        def done(value: AnswerT) -> None:
            if not future.done():
                future.set_result(value)

        def answer(value: AnswerT) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(done, value)

        ask(answer)
        return future

    @staticmethod
    async def _wait(future: asyncio.Future[tuple[bool, str]]) -> tuple[bool, str]:
        done, _ = await asyncio.wait({future}, timeout=ANSWER_S)
        return future.result() if done else (False, "no answer: is the controller running?")

    def _answer_later(self, visitor: _Visitor, what: str, work: Any) -> None:
        async def wait() -> None:
            ok, text = await work
            self._answer(visitor, what, ok, text)

        self._in_background(wait())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _answer(self, visitor: _Visitor, what: str, ok: bool, text: str, **more: Any) -> None:
        visitor.answers = [*visitor.answers[-MOST_ANSWERS:], {"to": what, "ok": ok, "text": text, **more}]
        visitor.wake.set()

    async def _tell(self, visitor: _Visitor) -> None:
        """Tells a page the time and what is new, at the pace at which it takes it: nothing queues."""
        told_s = -STATE_PERIOD_S
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                now_s = steady_s()
                message: dict[str, Any] = {"t": round(now_s * 1e3, 1)}
                if visitor.answers:
                    message["answers"], visitor.answers = visitor.answers, []
                if visitor.wake.is_set() or now_s - told_s >= STATE_PERIOD_S:
                    visitor.wake.clear()
                    told_s = now_s
                    message["state"] = self._state(now_s)
                    message["me"] = self._about(visitor, now_s)
                    visitor.events, message["events"] = self._view.events_after(visitor.events, now_s)
                    visitor.points, message["points"] = self._view.points_after(visitor.points, now_s)
                await visitor.socket.send_text(json.dumps(message, separators=(",", ":"), allow_nan=False))
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(visitor.wake.wait(), TELL_PERIOD_S)

    def _state(self, now_s: float) -> dict[str, Any]:
        at_s, state = self._told
        if not state or now_s - at_s >= TELL_PERIOD_S:
            state = {**self._view.snapshot(now_s), "pages": self.pages}
            self._told = (now_s, state)
        return state

    def _about(self, visitor: _Visitor, now_s: float) -> dict[str, Any]:
        return {
            "name": visitor.identity,
            "engaged": visitor.session.engaged,
            "has_arm": self._view.holder(now_s) == visitor.identity,
            "notice": visitor.session.notice,
        }


def _short(visitor: _Visitor) -> str:
    return visitor.identity.partition("@")[0]
