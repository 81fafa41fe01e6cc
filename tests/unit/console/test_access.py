"""Who is let in: token, host, origin, rates."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_console.config import LOOPBACK_NAMES, ConsoleConfig
from magma_console.connections.access import NO_TOKEN, SESSION_S, Access, LoginGuard, RateLimit, Request
from magma_contracts.errors import ConfigError

TOKEN = "a token that is long enough"
OWN = Request("GET", "/", "127.0.0.1:8090", None, None, None, None, "127.0.0.1")


def asked(**changes):
    return dataclasses.replace(OWN, **changes)


def test_a_page_that_others_can_reach_needs_a_token_that_cannot_be_guessed():
    with pytest.raises(ConfigError, match="needs a token"):
        Access(None, False, [])
    with pytest.raises(ConfigError, match="at least 16"):
        Access("short", False, [])
    Access(None, True, [])


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.5.5.5", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("robot.lab", False),
    ],
)
def test_what_loopback_is(host, loopback):
    assert ConsoleConfig(host=host).on_loopback is loopback


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({}, True),
        ({"host": "localhost:8090"}, True),
        ({"host": "LOCALHOST.:8090"}, True),
        ({"host": "[::1]:8090"}, True),
        ({"host": "192.168.1.7:8090", "local_address": "192.168.1.7"}, True),
        ({"host": "192.168.1.7:8090", "local_address": "10.0.0.1"}, False),
        ({"host": "evil.example:8090"}, False),
        ({"host": "127.0.0.1.evil.example"}, False),
        ({"host": None}, False),
        ({"host": ""}, False),
        ({"origin": "http://127.0.0.1:8090"}, True),
        ({"origin": "http://127.0.0.1:8091"}, False),
        ({"origin": "http://localhost:8090"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "file://"}, False),
        ({"host": "localhost", "origin": "https://localhost"}, True),
        ({"host": "localhost:443", "origin": "https://localhost"}, True),
        ({"method": "POST"}, False),
        ({"method": "POST", "origin": "http://127.0.0.1:8090"}, True),
        ({"method": "WEBSOCKET"}, False),
        ({"method": "WEBSOCKET", "origin": "http://127.0.0.1:8090"}, True),
        ({"method": "WEBSOCKET", "origin": "http://evil.example"}, False),
        ({"fetch_site": "cross-site", "fetch_mode": "navigate"}, True),
        ({"fetch_site": "cross-site", "fetch_mode": "no-cors"}, False),
        ({"fetch_site": "same-site", "fetch_mode": "cors"}, False),
        ({"fetch_site": "same-origin", "fetch_mode": "cors"}, True),
    ],
)
def test_only_the_console_itself_talks_to_the_console(changes, allowed):
    denial = Access(None, True, LOOPBACK_NAMES).judge(asked(**changes), 0.0)
    assert (denial is None) == allowed and (denial is None or denial.status == 403)


def test_a_token_opens_for_a_while_and_nothing_else_does():
    access = Access(TOKEN, True, LOOPBACK_NAMES)
    assert access.judge(OWN, 0.0) is NO_TOKEN
    assert access.log_in(TOKEN + "x", 0.0) is None and access.log_in("", 0.0) is None
    session = access.log_in(TOKEN, 0.0)
    assert session and session != TOKEN
    assert access.judge(asked(cookie=session), 1.0) is None
    assert access.judge(asked(cookie=TOKEN), 1.0) is NO_TOKEN
    assert access.judge(asked(cookie=session), SESSION_S + 1.0) is NO_TOKEN
    # Who knows the token is still no other page.
    assert access.judge(asked(cookie=session, origin="http://evil.example"), 1.0).status == 403


def test_those_who_know_the_token_do_not_fill_the_memory():
    access = Access(TOKEN, True, LOOPBACK_NAMES)
    first = access.log_in(TOKEN, 0.0)
    for _ in range(64):
        last = access.log_in(TOKEN, 1.0)
    assert access.judge(asked(cookie=first), 2.0) is NO_TOKEN
    assert access.judge(asked(cookie=last), 2.0) is None


def test_nobody_tries_tokens_for_long():
    guard = LoginGuard(per_minute=3, all_per_minute=10)
    assert [guard.allow("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert guard.allow("b", 0.0) and guard.allow("a", 21.0)
    assert sum(guard.allow(f"other {n}", 21.0) for n in range(400)) <= 10, "many addresses together are slowed down too"
    assert len(guard._limits) <= LoginGuard.REMEMBERED


@given(st.lists(st.floats(0.0, 0.5), max_size=60))
def test_a_rate_is_kept_however_events_come(pauses):
    limit, now, allowed = RateLimit(5.0, 10.0), 0.0, 0
    for pause in pauses:
        now += pause
        allowed += limit.allow(now)
    assert allowed <= 10 + 5 * now + 1e-6
