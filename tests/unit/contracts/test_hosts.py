"""Who a name or an address belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_contracts.hosts import host_name, is_address, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_machine_alone(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.0.7", "gpu", "localhost.evil.example", "127.0.0.1.nip.io", ""]
)
def test_others_reach_it_too(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8765", "localhost"),
        ("LocalHost.", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:8765", "::1"),
        ("[::1]", "::1"),
        ("evil.example:80", "evil.example"),
        (None, ""),
        ("", ""),
        ("127.0.0.1:evil.example", ""),
        ("[::1]evil.example", ""),
        ("::1", ""),
    ],
)
def test_the_name_in_a_host_header(header, name):
    assert host_name(header) == name


@given(st.text(max_size=60))
def test_any_host_header_has_a_name_or_none(text):
    name = host_name(text)
    assert ":" not in name or text.strip().startswith("[")
    assert not is_address(name) or name in text.lower()
