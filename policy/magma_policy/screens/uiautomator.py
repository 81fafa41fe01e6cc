"""Candidates of an Android screen: the XML that `adb exec-out uiautomator dump /dev/tty` prints.

The format is that of Android's uiautomator: nested `node` elements with `bounds="[x1,y1][x2,y2]"` in screen pixels.
"""

from __future__ import annotations

import itertools
import re
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from magma_policy.errors import ScreenError, shown
from magma_policy.screens.candidates import Candidate

MOST_CHARACTERS = 4_000_000
MOST_NODES = 20_000
_BOUNDS = re.compile(r"\[(-?[0-9]{1,6}),(-?[0-9]{1,6})\]\[(-?[0-9]{1,6}),(-?[0-9]{1,6})\]")
_END = "</hierarchy>"
_ROLES = {
    "Button": "button",
    "ImageButton": "button",
    "CheckBox": "checkbox",
    "RadioButton": "radio",
    "Switch": "switch",
    "EditText": "textbox",
    "AutoCompleteTextView": "textbox",
    "Spinner": "combobox",
    "SeekBar": "slider",
}


def uiautomator_candidates(xml: str) -> list[Candidate]:
    """What can be touched or typed into, with the words on it and in it.

    Raises:
        ScreenError: this is no dump of a view hierarchy; the message says what is wrong with it.
    """
    if len(xml) > MOST_CHARACTERS:
        raise ScreenError(f"a dump of a view hierarchy has at most {MOST_CHARACTERS} characters, this has {len(xml)}")
    start, end = xml.find("<"), xml.rfind(_END)
    try:
        # adb prints a sentence behind the dump.
        root = fromstring(xml[max(start, 0) : end + len(_END)] if end >= 0 else xml)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise ScreenError(f"this is no XML as uiautomator dumps it: {shown(str(error))}") from error
    if root.tag != "hierarchy":
        raise ScreenError(f"a uiautomator dump begins with <hierarchy>, this with <{shown(root.tag)}>")
    found: list[Candidate] = []
    # (element, key of the nearest candidate around it); by hand, for dumps may be deeper than calls can nest.
    waiting = [(child, "") for child in reversed(list(root))]
    count = 0
    while waiting:
        node, inside = waiting.pop()
        count += 1
        if count > MOST_NODES:
            raise ScreenError(f"a dump with more than {MOST_NODES} nodes is not read")
        candidate = _candidate(node.attrib, str(count), inside, _words_below(node))
        if candidate is not None:
            found.append(candidate)
        waiting += [(child, candidate.key if candidate else inside) for child in reversed(list(node))]
    return found


def _candidate(attributes: dict[str, str], key: str, inside: str, below: str) -> Candidate | None:
    def true(name: str) -> bool:
        return attributes.get(name, "") == "true"

    kind = attributes.get("class", "").rpartition(".")[2]
    role = _ROLES.get(kind, "")
    acts = true("clickable") or true("long-clickable") or true("checkable") or role == "textbox"
    bounds = _BOUNDS.fullmatch(attributes.get("bounds", ""))
    if not acts or bounds is None or attributes.get("enabled", "true") != "true":
        return None
    x1, y1, x2, y2 = (float(value) for value in bounds.groups())
    if x2 <= x1 or y2 <= y1:
        return None
    text, said = attributes.get("text", ""), attributes.get("content-desc", "")
    return Candidate(
        (x1, y1, x2, y2),
        role or "button",
        said or (below if role == "textbox" else text or below),
        text if role == "textbox" else "",
        focusable=true("focusable"),
        key=key,
        inside=inside,
    )


def _words_below(node: Element, most: int = 200) -> str:
    """Words of the first few nodes inside: a row's title stands in a child of what is touched."""
    below = (inner.attrib for inner in itertools.islice(node.iter("node"), 1, 20))
    words = [inner.get("text") or inner.get("content-desc") for inner in below if inner.get("clickable") != "true"]
    return " ".join(word for word in words if word)[:most]
