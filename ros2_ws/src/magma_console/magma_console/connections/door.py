"""The console's one door: every request comes in here, and operators' commands and the emergency stop end here.

It has an event loop and a thread of its own. The page framework's loop is behind it (`LoopBridge`) and can hold up none
of these: the operator's connection, the pictures, the emergency stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from magma_common.process.clocks import steady_s
from magma_console.config import FIRST_PORT, ConsoleConfig
from magma_console.connections.access import COOKIE, NO_TOKEN, SESSION_S, Access, Denial, LoginGuard, Request
from magma_console.connections.lobby import Lobby, PatientProtocol
from magma_console.connections.loop_bridge import Application, Receive, Scope, Send
from magma_console.connections.operators import Operators
from magma_console.connections.picture_stream import PictureStreams
from magma_contracts.errors import ConfigError

STATIC = Path(__file__).parents[1] / "static"
LOGIN = "/console/login"
PORTS_TRIED = 20
LARGEST_MESSAGE = 1 << 20
"""Of the page framework; operators' messages are far smaller."""
LARGEST_FORM = 4096
FORM_S = 5.0
"""In which it must be there."""
CLOSING_S = 2.0
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # With no referrer at all, browsers leave the origin out of a form, too.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # The page framework's own scripts are inline and compiled in the page; texts of the graph never become either.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
}
FILES_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; media-src 'self' data:; "
    "frame-ancestors 'none'; form-action 'none'; base-uri 'none'"
)
"""Reports and recordings come from anywhere: a script in one would be an operator."""
LOGIN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Magma console</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root{{color-scheme:light dark}}body{{font:18px system-ui,sans-serif;max-width:24rem;margin:15vh auto;padding:1rem}}
input,button{{font:inherit;width:100%;box-sizing:border-box;padding:.6rem;margin:.4rem 0}}</style>
<h1>Magma console</h1><form method="post" action="/console/login">
<label>Token <input name="token" type="password" autofocus></label>
<button>Open</button></form><p>{}</p>"""


class Door:
    """Serves until it is closed."""

    def __init__(
        self, config: ConsoleConfig, access: Access, operators: Operators, pictures: PictureStreams, page: Application
    ) -> None:
        """
        Args:
            page: gets every request that is not the door's own.

        Raises:
            ConfigError: the port cannot be had.
        """
        self._access, self._operators, self._pictures = access, operators, pictures
        self._guard = LoginGuard()
        self._socket = _listen(config.host, config.port)
        # Browsers keep cookies by host and not by port: each of two consoles on a machine needs a name of its own.
        self._cookie = f"{COOKIE}_{self._socket.getsockname()[1]}"
        protocol: Any = partial(PatientProtocol, Lobby())
        routes = [
            Route("/console/estop", self._estop, methods=["POST"]),
            Route(LOGIN, self._log_in, methods=["GET", "POST"]),
            WebSocketRoute("/console/operator", operators.connect),
            WebSocketRoute("/console/pictures/{name}", pictures.connect),
            Mount("/console/static", StaticFiles(directory=STATIC)),
            Mount("/", page),
        ]
        self._inner = Starlette(routes=routes)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self,
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                http=protocol,
                ws="websockets-sansio",
                ws_max_size=LARGEST_MESSAGE,
                ws_ping_interval=5.0,
                ws_ping_timeout=5.0,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="door", daemon=True)

    @property
    def address(self) -> str:
        """By which the page is opened on this machine."""
        host, port = self._socket.getsockname()[:2]
        name = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/"

    def start(self) -> None:
        """Begins to serve, in its own thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends all connections; what operators asked for ends with them."""
        self._server.should_exit = True
        self._thread.join(CLOSING_S)
        self._socket.close()

    def soon(self, work: Callable[[], None]) -> None:
        """Does something in the door's loop; from any thread, and in vain when it does not run."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(work)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        work = asyncio.create_task(self._operators.work())
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            work.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judges each request before anybody else sees it."""
        if scope["type"] not in ("http", "websocket"):
            return
        request = _request(scope, self._cookie)

        async def send_with_headers(message: Scope) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if request.path.startswith("/files/"):
                    headers["Content-Security-Policy"] = FILES_POLICY
                if request.path.startswith("/console/") or request.path == "/":
                    headers["Cache-Control"] = "no-store"
            await send(message)

        answer = self._refusal(request, scope)
        if answer is None:
            await self._inner(scope, receive, send_with_headers)
        elif isinstance(answer, Response):
            await answer(scope, receive, send_with_headers)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": answer.text[:120]})

    def _refusal(self, request: Request, scope: Scope) -> Response | Denial | None:
        """What is answered instead of the page: None = nothing, a Denial where the connection is closed."""
        denial = self._access.judge(request, steady_s())
        if scope["type"] == "websocket":
            return denial
        query = scope["query_string"].decode("latin-1")
        if denial is NO_TOKEN and request.method in ("GET", "POST"):
            token = parse_qs(query).get("token")
            if request.path == LOGIN:
                return None
            if token and request.method == "GET":
                return self._cookie_for(token[0], scope, "/")
            if request.path == "/" and request.method == "GET":
                return RedirectResponse(LOGIN, 303)
        if denial is not None:
            return JSONResponse({"refused": denial.text}, denial.status)
        if "token=" in query:
            # Known already, or not needed: it must not stay in the address.
            return RedirectResponse(f"/{request.path.lstrip('/')}", 303)
        return None

    async def _estop(self, request: HttpRequest) -> Response:
        """For a page whose connection is lost, and for scripts. It needs no body and is never too often."""
        ok, text = await self._operators.estop("a page without connection")
        return JSONResponse({"ok": ok, "text": text}, 200 if ok else 503)

    async def _log_in(self, request: HttpRequest) -> Response:
        if request.method == "GET":
            return HTMLResponse(LOGIN_PAGE.format(""))
        try:
            body = await asyncio.wait_for(_short_body(request), FORM_S)
        except (asyncio.TimeoutError, ClientDisconnect):
            return JSONResponse({"refused": "the token did not come"}, 408)
        if body is None:
            return JSONResponse({"refused": "that is no token"}, 413)
        token = parse_qs(body.decode("latin-1")).get("token", [""])[0]
        return self._cookie_for(token, request.scope, "/")

    def _cookie_for(self, token: str, scope: Scope, where: str) -> Response:
        client = scope.get("client") or ("", 0)
        if not self._guard.allow(client[0], steady_s()):
            return HTMLResponse(LOGIN_PAGE.format("too many tries: wait a minute"), 429)
        session = self._access.log_in(token, steady_s())
        if session is None:
            return HTMLResponse(LOGIN_PAGE.format("wrong token"), 401)
        response = RedirectResponse(where, 303)
        secure = scope.get("scheme") in ("https", "wss")
        response.set_cookie(
            self._cookie, session, max_age=int(SESSION_S), httponly=True, samesite="strict", secure=secure, path="/"
        )
        return response


async def _short_body(request: HttpRequest) -> bytes | None:
    """What a form holds; None when it is longer than a form may be."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_FORM:
            return None
    return body


def _request(scope: Scope, cookie: str) -> Request:
    headers = Headers(scope=scope)
    cookies: dict[str, str] = {}
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        cookies.setdefault(name, value)
    return Request(
        method=scope.get("method", "WEBSOCKET") if scope["type"] == "http" else "WEBSOCKET",
        path=scope["path"],
        host=headers.get("host"),
        origin=headers.get("origin"),
        fetch_site=headers.get("sec-fetch-site"),
        fetch_mode=headers.get("sec-fetch-mode"),
        cookie=cookies.get(cookie),
        local_address=(scope.get("server") or ("", 0))[0],
    )


def with_token(address: str, token: str | None) -> str:
    """The address that opens the page at once."""
    return address if token is None else f"{address}?{urlencode({'token': token})}"


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 = the first free one from FIRST_PORT on."""
    ports = [port] if port else range(FIRST_PORT, FIRST_PORT + PORTS_TRIED)
    trouble: OSError | None = None
    for wanted in ports:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, wanted, type=socket.SOCK_STREAM)[0]
            listening = socket.socket(family, kind, protocol)
            try:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listening.bind(address)
                listening.listen(64)
            except OSError:
                listening.close()
                raise
            return listening
        except OSError as error:
            trouble = error
    which = f"port {port}" if port else f"a port from {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1}"
    raise ConfigError(f"node console: {which} of {host} cannot be used: {trouble.strerror if trouble else ''}")
