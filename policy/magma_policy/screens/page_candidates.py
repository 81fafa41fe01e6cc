"""Candidates of a web page: from its elements, and from its accessibility tree.

The elements give more (drawings and plain boxes that listen for clicks); the accessibility tree gives what a screen
reader would offer, and is what some published agents used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from magma_policy.errors import ScreenError
from magma_policy.screens.candidates import Candidate
from magma_policy.screens.page_snapshot import Element

_CONTROLS = {
    "A": "link",
    "AREA": "link",
    "BUTTON": "button",
    "INPUT": "textbox",
    "SELECT": "combobox",
    "TEXTAREA": "textbox",
    "SUMMARY": "button",
}
_INPUTS = {
    **dict.fromkeys(("button", "submit", "reset", "image", "file", "color"), "button"),
    "checkbox": "checkbox",
    "radio": "radio",
    "range": "slider",
    "search": "searchbox",
    "number": "spinbutton",
}
ROLES = frozenset(
    {
        *("button", "link", "textbox", "searchbox", "checkbox", "radio", "switch", "combobox", "listbox", "option"),
        *("menuitem", "menuitemcheckbox", "menuitemradio", "tab", "treeitem", "slider", "spinbutton", "gridcell"),
    }
)
"""Roles that can be acted on."""
_SHAPES = frozenset({"CIRCLE", "RECT", "ELLIPSE", "POLYGON", "PATH", "LINE", "TEXT"})
_GROUND = frozenset({"HTML", "BODY", "FORM", "MAIN", "LABEL"})


def page_candidates(elements: Sequence[Element]) -> list[Candidate]:
    """What can be clicked, typed into or chosen from; boxes in CSS pixels of the viewport."""
    ids = {element.attributes["id"]: index for index, element in enumerate(elements) if "id" in element.attributes}
    labelled = {
        index: labels
        for index, element in enumerate(elements)
        if element.tag == "LABEL" and (labels := _labelled(elements, index, ids))
    }
    words = {labels: elements[index].words for index, labels in reversed(labelled.items())}
    chosen: dict[int, Candidate] = {}
    for index, element in enumerate(elements):
        if element.box is None or not element.visible or _disabled(element):
            continue
        role = role_of(element)
        inside = _nearest(elements, index, chosen)
        if element.tag == "LABEL":
            if index in labelled:
                control = elements[labelled[index]]
                role, key = role_of(control), str(element.node)
                chosen[index] = Candidate(
                    element.box, role, element.words, key=key, inside=inside, labels=str(control.node)
                )
            continue
        if not role and not _clickable(elements, index):
            continue
        chosen[index] = Candidate(
            element.box,
            role or "button",
            name_of(elements, index, ids, words.get(index, "")),
            _value(elements, index, role),
            focusable=bool(role) or "tabindex" in element.attributes,
            options=tuple(_words(option) for option in _options(elements, index)),
            key=str(element.node),
            inside=inside,
        )
    return list(chosen.values())


def accessibility_candidates(answer: Mapping[str, Any], elements: Sequence[Element]) -> list[Candidate]:
    """What the accessibility tree offers, `answer` as the DevTools protocol gives it to `Accessibility.getFullAXTree`;
    places come from the elements.

    Raises:
        ScreenError: the answer is not in the protocol's form.
    """
    by_node = {element.node: element for element in elements}
    found = []
    try:
        for node in answer["nodes"]:
            role = str(node.get("role", {}).get("value", ""))
            element = by_node.get(node.get("backendDOMNodeId", -1))
            if node.get("ignored") or role.lower() not in ROLES or element is None or element.box is None:
                continue
            if element.visible:
                name, value = (str(node.get(field, {}).get("value", "")) for field in ("name", "value"))
                found.append(
                    Candidate(element.box, role.lower(), name, value, focusable=True, key=str(element.node))
                )  # fmt: skip
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ScreenError(
            f"the browser's accessibility tree cannot be read: {type(error).__name__} {error}"
        ) from error  # fmt: skip
    return found


def role_of(element: Element) -> str:
    """The accessibility role of an element that can be acted on, "" for others."""
    said = element.attributes.get("role", "").split(" ")[0].lower()
    if said in ROLES:
        return said
    if element.tag == "INPUT":
        kind = element.attributes.get("type", "text").lower()
        return "" if kind == "hidden" else _INPUTS.get(kind, "textbox")
    if element.tag == "A" and "href" not in element.attributes and not element.listens:
        return ""
    if element.attributes.get("contenteditable", "false").lower() in ("", "true", "plaintext-only"):
        return "textbox"
    return _CONTROLS.get(element.tag, "")


def name_of(elements: Sequence[Element], index: int, ids: Mapping[str, int], label: str = "") -> str:
    """What people read on an element or are told of it: a short form of the accessible name's rules (W3C accname).

    Args:
        ids: index by the attribute id.
        label: words of the element's label.
    """
    element = elements[index]
    attributes = element.attributes
    by_others = " ".join(
        elements[ids[name]].words for name in attributes.get("aria-labelledby", "").split() if name in ids
    )
    field = element.tag in ("INPUT", "TEXTAREA", "SELECT")
    on_button = attributes.get("value", "") if role_of(element) == "button" and field else ""
    pictures = " ".join(
        other.attributes.get("alt", "")
        for other in elements[index + 1 : index + 8]
        if other.tag in ("IMG", "SVG") and other.parent == index
    )
    for words in (
        by_others,
        attributes.get("aria-label", ""),
        label,
        on_button,
        "" if field else f"{element.words} {pictures}",
        attributes.get("alt", ""),
        attributes.get("title", ""),
        attributes.get("placeholder", ""),
    ):
        if words.strip():
            return " ".join(words.split())
    return ""


def _clickable(elements: Sequence[Element], index: int) -> bool:
    """Whether an element that is no control takes clicks: it listens for them, or the mouse becomes a hand over it and
    not already around it."""
    element = elements[index]
    if element.tag in _GROUND:
        return False
    around = elements[element.parent] if element.parent >= 0 else None
    hand = element.pointer and not (around is not None and around.pointer)
    return element.listens or hand or (element.tag in _SHAPES and _on_listening_drawing(elements, index))


def _on_listening_drawing(elements: Sequence[Element], index: int) -> bool:
    above = elements[index].parent
    while above >= 0:
        if elements[above].tag == "SVG":
            return elements[above].listens or elements[above].pointer
        above = elements[above].parent
    return False


def _disabled(element: Element) -> bool:
    return "disabled" in element.attributes or element.attributes.get("aria-disabled", "").lower() == "true"


def _nearest(elements: Sequence[Element], index: int, chosen: Mapping[int, Candidate]) -> str:
    above = elements[index].parent
    while above >= 0:
        if above in chosen:
            return chosen[above].key
        above = elements[above].parent
    return ""


def _labelled(elements: Sequence[Element], index: int, ids: Mapping[str, int]) -> int:
    """Index of the control that a label is for; 0, which is never a control, for none."""
    named = elements[index].attributes.get("for")
    if named is not None:
        return ids.get(named, 0)
    for below in range(index + 1, min(index + 50, len(elements))):
        above = elements[below].parent
        while above > index:
            above = elements[above].parent
        if above != index:
            return 0
        if elements[below].tag in ("INPUT", "SELECT", "TEXTAREA", "BUTTON"):
            return below
    return 0


def _options(elements: Sequence[Element], index: int, most: int = 200) -> list[Element]:
    found: list[Element] = []
    for element in elements[index + 1 :] if elements[index].tag == "SELECT" else ():
        if element.parent < index or len(found) == most:
            break
        found += [element] if element.tag == "OPTION" else []
    return found


def _words(option: Element) -> str:
    return option.attributes.get("label") or option.words


def _value(elements: Sequence[Element], index: int, role: str) -> str:
    """What stands in a field; never what is secret."""
    element = elements[index]
    if element.tag == "SELECT":
        return next((_words(option) for option in _options(elements, index) if option.chosen), "")
    if role in ("checkbox", "radio", "switch"):
        return "ticked" if element.checked or element.attributes.get("aria-checked") == "true" else ""
    return "" if element.attributes.get("type", "").lower() == "password" else element.value
