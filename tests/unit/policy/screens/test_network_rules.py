"""What a page may ask the network for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_policy.errors import ScreenError
from magma_policy.screens.network_rules import allowed_origins, origin_of, refuse_request

SHOP = allowed_origins(["https://shop.example/start?x=1"])


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://shop.example/a", "https://shop.example:443"),
        ("HTTPS://Shop.Example.:443/a#b", "https://shop.example:443"),
        ("wss://shop.example/feed", "https://shop.example:443"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("https://shop.example@evil.example/", "https://evil.example:443"),
        ("https://münchen.example/", "https://xn--mnchen-3ya.example:443"),
        ("javascript:alert(1)", ""),
        ("https://", ""),
        ("https://a:99999/", ""),
        ("not an address", ""),
    ],
)
def test_origins(address, origin):
    assert origin_of(address) == origin


@pytest.mark.parametrize(
    "address",
    [
        "https://shop.example.evil.example/",
        "https://evil.example/?https://shop.example",
        "https://shop.example@evil.example/",
        "https://shop.example:8443/",
        "http://shop.example/",
        "https://shop-example/",
        "https://shоp.example/",  # a Cyrillic letter
        "https://xn--shp-fmc.example/",
        "ftp://shop.example/",
        "file:///etc/passwd",
        "chrome://settings",
    ],
)
def test_look_alike_addresses_are_not_allowed(address):
    assert refuse_request(address, "GET", SHOP)


def test_reading_is_free_and_changing_needs_a_yes():
    for method in ("GET", "HEAD", "OPTIONS", "get"):
        assert refuse_request("https://shop.example/x", method, SHOP) == ""
    for method in ("POST", "PUT", "DELETE", "PATCH", "post"):
        assert "nobody has agreed" in refuse_request("https://shop.example/x", method, SHOP)
        assert refuse_request("https://shop.example/x", method, SHOP, agreed=True) == ""
        assert refuse_request("https://evil.example/x", method, SHOP, agreed=True)


def test_pages_may_hold_data_but_not_be_made_of_it():
    assert refuse_request("data:image/png;base64,AA==", "GET", SHOP) == ""
    assert refuse_request("data:text/html,<h1>bank", "GET", SHOP, navigates=True)
    assert refuse_request("about:blank", "GET", SHOP, navigates=True) == ""


def test_files_only_from_the_folder_that_was_given(tmp_path):
    folder, outside = tmp_path / "pages", tmp_path / "secret.html"
    folder.mkdir()
    outside.write_text("x")
    (folder / "in.html").write_text("x")
    (folder / "link.html").symlink_to(outside)
    for name, fine in (
        ("in.html", True),
        ("link.html", False),
        ("../secret.html", False),
        ("%2e%2e/secret.html", False),
    ):
        refused = refuse_request(f"file://{folder}/{name}", "GET", SHOP, folder=folder, navigates=True)
        assert (refused == "") == fine, name
    assert refuse_request(f"file://{folder}/in.html", "GET", SHOP)
    assert refuse_request(f"file://evil.example{folder}/in.html", "GET", SHOP, folder=folder)


def test_an_address_that_is_none_is_told():
    with pytest.raises(ScreenError, match="no address"):
        allowed_origins(["shop.example"])


@given(st.text())
def test_any_text_is_judged(text):
    assert isinstance(origin_of(text), str)
    refuse_request(text, text, SHOP, navigates=True)
