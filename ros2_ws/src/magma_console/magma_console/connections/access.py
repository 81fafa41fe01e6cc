"""Who may talk to the console: token, cookie, host, origin, rates. No clock, no I/O."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from magma_contracts.errors import ConfigError
from magma_contracts.hosts import host_name, is_address

COOKIE = "magma_console"
"""What the names of its cookies begin with; its port follows."""
SHORTEST_TOKEN = 16
SESSION_S = 12 * 3600.0
"""After so long the token is asked for again."""
MOST_SESSIONS = 64
SAFE_METHODS = frozenset({"GET", "HEAD"})
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Request:
    """What is looked at of a request; headers as sent, None where they were not."""

    method: str
    """GET …, or WEBSOCKET"""
    path: str
    host: str | None
    origin: str | None
    fetch_site: str | None
    """Sec-Fetch-Site"""
    fetch_mode: str | None
    """Sec-Fetch-Mode"""
    cookie: str | None
    """value of this console's cookie"""
    local_address: str
    """at which the request came in"""


@dataclass(frozen=True)
class Denial:
    """Why a request is refused."""

    status: int
    text: str


NO_TOKEN = Denial(401, "this page needs its token: open it by the address with ?token=, or log in")


class Access:
    """The one judge of all requests, before anybody else sees them."""

    def __init__(self, token: str | None, on_loopback: bool, names: Iterable[str]) -> None:
        """
        Args:
            token: what opens the page; None = nothing is asked for.
            on_loopback: whether only this machine can reach the page.
            names: host names by which the page may be called.

        Raises:
            ConfigError: a page that others can reach without a token, or with one that can be guessed.
        """
        if token is None and not on_loopback:
            raise ConfigError(
                "a console that other machines can reach needs a token: set MAGMA_CONSOLE_TOKEN or token_file (such as "
                "from `openssl rand -hex 16`), or listen on 127.0.0.1"
            )
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise ConfigError(f"the console's token has {len(token)} characters: give at least {SHORTEST_TOKEN}")
        self._token = token
        self._names = frozenset(name.lower().rstrip(".") for name in names)
        self._sessions: OrderedDict[str, float] = OrderedDict()

    @property
    def asks_for_token(self) -> bool:
        return self._token is not None

    def judge(self, request: Request, now_s: float) -> Denial | None:
        """Why a request is refused, or None."""
        return self._refuse_host(request) or self._refuse_origin(request) or self._refuse_session(request, now_s)

    def log_in(self, token: str, now_s: float) -> str | None:
        """The value of a new cookie for whoever knows the token; None for others."""
        if self._token is None or not hmac.compare_digest(token.encode(), self._token.encode()):
            return None
        session = secrets.token_urlsafe(24)
        self._sessions[session] = now_s
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def _refuse_host(self, request: Request) -> Denial | None:
        """Another name that leads here is somebody else's page (DNS rebinding)."""
        name = host_name(request.host)
        if name in self._names or (is_address(name) and name == request.local_address):
            return None
        return Denial(
            403, f"the console is not called {name[:100] or 'nothing'!r}: use its address, or set allowed_hosts"
        )

    def _refuse_origin(self, request: Request) -> Denial | None:
        """A page from elsewhere must not act by somebody's browser, nor read what it shows."""
        refusal = Denial(403, "requests of other pages are refused: open the console itself")
        if request.origin is not None:
            scheme, _, where = request.origin.partition("://")
            if scheme not in _PORTS or _with_port(where, scheme) != _with_port(request.host or "", scheme):
                return refusal
        elif request.method not in SAFE_METHODS:
            return refusal
        if request.fetch_site in ("cross-site", "same-site") and request.fetch_mode != "navigate":
            return refusal
        return None

    def _refuse_session(self, request: Request, now_s: float) -> Denial | None:
        if self._token is None:
            return None
        since_s = self._sessions.get(request.cookie or "")
        if since_s is None or now_s - since_s > SESSION_S:
            return NO_TOKEN
        return None


def _with_port(where: str, scheme: str) -> tuple[str, str]:
    """Host and port, with the scheme's own where none is given."""
    text = where.strip().lower()
    rest = text.partition("]")[2] if text.startswith("[") else text
    return host_name(text), rest.partition(":")[2] or str(_PORTS[scheme])


class RateLimit:
    """So many events per second on average, with bursts."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left = burst
        self._last_s: float | None = None

    def allow(self, now_s: float) -> bool:
        """Whether one more may happen now; if so it counts."""
        if self._last_s is not None:
            self._left = min(self._burst, self._left + (now_s - self._last_s) * self._per_s)
        self._last_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class LoginGuard:
    """Slows down whoever tries tokens: each address may fail so often per minute, and all of them together so often."""

    REMEMBERED = 256

    def __init__(self, per_minute: float = 6.0, all_per_minute: float = 60.0) -> None:
        self._per_minute = per_minute
        self._all = RateLimit(all_per_minute / 60.0, all_per_minute)
        self._limits: OrderedDict[str, RateLimit] = OrderedDict()

    def allow(self, address: str, now_s: float) -> bool:
        """Whether this address may try now; counts the try."""
        limit = self._limits.pop(address, None) or RateLimit(self._per_minute / 60.0, self._per_minute)
        self._limits[address] = limit
        while len(self._limits) > self.REMEMBERED:
            self._limits.popitem(last=False)
        return limit.allow(now_s) and self._all.allow(now_s)
