"""What a person is asked about before it is done on a page."""

from __future__ import annotations

import pytest

from magma_policy.screens.actions import Kind, ScreenAction
from magma_policy.screens.network_rules import allowed_origins
from magma_policy.screens.page_snapshot import Element
from magma_policy.screens.risks import Risk, risks_of, words_of

PAGE = "https://shop.example/cart"
SHOP = allowed_origins([PAGE])
CLICK = ScreenAction(Kind.CLICK, 0)


def element(tag: str, words: str = "", parent: int = 0, value: str = "", **attributes: str) -> Element:
    named = {name.replace("_", "-"): text for name, text in attributes.items()}
    return Element(0, tag, named, (0.0, 0.0, 9.0, 9.0), True, False, False, value, False, False, parent, PAGE, words)


def asked(*elements: Element, action: ScreenAction = CLICK, index: int = -1) -> set[Risk]:
    page = [element("BODY", parent=-1), *elements]
    return set(risks_of(action, page, index % len(page), PAGE, SHOP))


@pytest.mark.parametrize(
    "words",
    [
        *(
            "Next",
            "Show more",
            "Search",
            "Home",
            "Menu",
            "Display settings",
            "Opening hours",
            "2",
            "Details",
            "Sort by price",
        ),
        *("Sort by price", "Add to cart", "Suche", "Página siguiente", "Compass", "Postal codes near", "Understand"),
    ],
)
def test_looking_around_needs_no_question(words):
    allowed = {Risk.SEND} if words.startswith("Postal") else set()  # "post" begins it; asking once too often is safe
    assert asked(element("BUTTON", words, type="button")) <= allowed


@pytest.mark.parametrize(
    ("words", "risk"),
    [
        ("Pay now", Risk.PAY),
        ("Place order", Risk.PAY),
        ("PURCHASE", Risk.PAY),
        ("Ｐａｙ", Risk.PAY),
        ("Рау nоw", Risk.PAY),  # Cyrillic letters
        ("P\u200bay", Risk.PAY),
        ("B u y", Risk.PAY),
        ("Jetzt kaufen", Risk.PAY),
        ("支払う", Risk.PAY),
        ("Оплатить", Risk.PAY),
        ("Send message", Risk.SEND),
        ("Publish", Risk.SEND),
        ("D-e-l-e-t-e", Risk.DELETE),
        ("de1ete", Risk.DELETE),
        ("d3l3te all", Risk.DELETE),
        ("Löschen", Risk.DELETE),
        ("Supprimer", Risk.DELETE),
        ("削除", Risk.DELETE),
        ("Close my account", Risk.DELETE),
        ("Allow", Risk.GRANT),
        ("I agree", Risk.GRANT),
    ],
)
def test_what_costs_sends_deletes_or_grants_is_asked_about(words, risk):
    assert risk in asked(element("BUTTON", words, type="button"))
    assert risk in asked(element("DIV", "", aria_label=words), index=-1)
    assert risk in asked(element("INPUT", type="button", value=words))


def test_words_in_pictures_and_attributes_count():
    assert Risk.DELETE in asked(element("BUTTON", ""), element("IMG", alt="Trash: delete item", parent=1))
    assert Risk.PAY in asked(element("BUTTON", "Continue", type="button", onclick="pay()"))
    assert Risk.UNKNOWN in asked(element("BUTTON", "", type="button"))


def test_a_bare_yes_is_judged_by_what_it_answers():
    dialogue = element("DIV", "Delete all your photos? Yes No", role="alertdialog")
    assert Risk.DELETE in asked(dialogue, element("BUTTON", "Yes", parent=1, type="button"))
    assert Risk.DELETE not in asked(dialogue, element("BUTTON", "No", parent=1, type="button"))
    assert (
        asked(
            element("DIV", "Show the next page? Yes", role="dialog"), element("BUTTON", "Yes", parent=1, type="button")
        )
        == set()
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"type": "password"},
        {"type": "text", "name": "card-number"},
        {"autocomplete": "cc-number"},
        {"autocomplete": "one-time-code"},
        {"placeholder": "IBAN"},
        {"aria_label": "Security code"},
        {"name": "api_key"},
        {"placeholder": "Пароль"},
    ],
)
def test_secrets_are_not_typed_without_asking(attributes):
    typing = ScreenAction(Kind.TYPE, 0, text="1234")
    assert asked(element("INPUT", **attributes), action=typing) == {Risk.SECRET}
    assert asked(element("INPUT", type="text", name="q", placeholder="Search"), action=typing) == set()


def test_forms_are_judged_by_where_they_go_and_what_they_hold():
    form = element("FORM", action="/next", method="post")
    assert Risk.SUBMIT in asked(form, element("BUTTON", "Next", parent=1))
    assert asked(element("FORM", action="/find", method="get"), element("BUTTON", "Search", parent=1)) == set()
    assert Risk.LEAVE in asked(element("FORM", action="https://evil.example/"), element("BUTTON", "Search", parent=1))
    assert Risk.LEAVE in asked(form, element("BUTTON", "Next", parent=1, formaction="https://evil.example/"))
    secret = element("INPUT", type="password", parent=1)
    assert Risk.SECRET in asked(element("FORM", action="/in"), secret, element("BUTTON", "Next", parent=1))


@pytest.mark.parametrize(
    ("address", "leaves"),
    [
        ("/other", False),
        ("https://shop.example/x", False),
        ("#top", False),
        ("//evil.example/", True),
        ("https://shop.example.evil.example/", True),
        ("https://shоp.example/", True),
        ("data:text/html,hello", True),
        ("mailto:someone@evil.example", True),
    ],
)
def test_links_are_judged_by_where_they_lead(address, leaves):
    assert (Risk.LEAVE in asked(element("A", "Read more", href=address))) == leaves
    assert (Risk.LEAVE in asked(element("A", href=address), element("SPAN", "Read more", parent=1))) == leaves


def test_choosing_is_judged_by_what_is_chosen():
    assert Risk.DELETE in asked(element("SELECT"), action=ScreenAction(Kind.SELECT, 0, text="Delete forever"))


def test_words_are_compared_in_one_form():
    assert words_of("  DÉLETE\u202e!! ") == "delete"
