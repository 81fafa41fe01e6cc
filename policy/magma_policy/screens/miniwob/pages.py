"""Where the pages of MiniWoB++ lie, and which there are.

They come from the wheel miniwob 1.1.0 of PyPI and nothing else does: its Python code drives another browser by Selenium
and Gymnasium, which nobody needs here, so the wheel is unpacked and not installed (`./run setup screens`).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from magma_policy.errors import CommandError

ENVIRONMENT = "MAGMA_MINIWOB"
"""Variable that names another folder with the pages."""
UNPACKED = Path("share") / "magma" / "miniwob"
"""Below the Python environment: where `./run setup` unpacks the wheel."""
_NAMES = """
    ascending-numbers bisect-angle book-flight book-flight-nodelay button-delay buy-ticket chase-circle
    choose-date choose-date-easy choose-date-medium choose-date-nodelay choose-list circle-center click-button
    click-button-sequence click-checkboxes click-checkboxes-large click-checkboxes-soft
    click-checkboxes-transfer click-collapsible click-collapsible-2 click-collapsible-2-nodelay
    click-collapsible-nodelay click-color click-dialog click-dialog-2 click-link click-menu click-menu-2
    click-option click-pie click-pie-nodelay click-scroll-list click-shades click-shape click-tab click-tab-2
    click-tab-2-easy click-tab-2-hard click-tab-2-medium click-test click-test-2 click-test-transfer
    click-widget copy-paste copy-paste-2 count-shape count-sides daily-calendar drag-box drag-circle drag-cube
    drag-items drag-items-grid drag-shapes drag-shapes-2 drag-single-shape drag-sort-numbers draw-circle
    draw-line email-inbox email-inbox-delete email-inbox-forward email-inbox-forward-nl
    email-inbox-forward-nl-turk email-inbox-important email-inbox-nl-turk email-inbox-noscroll email-inbox-reply
    email-inbox-star-reply enter-date enter-password enter-text enter-text-2 enter-text-dynamic enter-time
    find-greatest find-midpoint find-word focus-text focus-text-2 form-sequence form-sequence-2 form-sequence-3
    generate-number grid-coordinate guess-number highlight-text highlight-text-2 hot-cold hover-shape
    identify-shape login-user login-user-popup moving-items multi-layouts multi-orderings navigate-tree
    number-checkboxes odd-or-even order-food phone-book read-table read-table-2 resize-textarea right-angle
    scroll-text scroll-text-2 search-engine sign-agreement simon-says simple-algebra simple-arithmetic
    social-media social-media-all social-media-some stock-market terminal text-editor text-transform tic-tac-toe
    unicode-test use-autocomplete use-autocomplete-nodelay use-colorwheel use-colorwheel-2 use-slider
    use-slider-2 use-spinner visual-addition
"""
TASKS = tuple(_NAMES.split())
"""Names of all tasks of the wheel, in alphabetical order."""
LONG = frozenset({"guess-number", "use-slider", "use-slider-2", "choose-date"})
"""Tasks that take more than a few actions."""
LEARNED = (
    "click-collapsible",
    "click-color",
    "click-dialog",
    "click-dialog-2",
    "click-shape",
    "click-tab",
    "click-test",
    "click-test-2",
    "click-widget",
    "count-sides",
    "focus-text",
    "focus-text-2",
    "grid-coordinate",
    "identify-shape",
)
"""Tasks that a policy of this project is taught: chosen before any was, for what is on the picture rather than for
what is written."""


def most_steps(task: str) -> int:
    """Actions that a task may take, as published agents were given."""
    return 30 if task in LONG else 10


def pages_folder() -> Path:
    """The folder that holds `miniwob/TASK.html`, `core` and `common`.

    Raises:
        CommandError: the pages are not here; the message says how to get them.
    """
    named = os.environ.get(ENVIRONMENT)
    places = [Path(named)] if named else [Path(sys.prefix) / UNPACKED]
    if not named:
        # Whoever has installed the distribution has the pages too; its code is not run.
        found = importlib.util.find_spec("miniwob")
        places += [Path(place) for place in (found.submodule_search_locations or () if found else ())]
    for place in places:
        for inner in (place, place / "html", place / "miniwob" / "html"):
            if (inner / "miniwob" / "click-test.html").is_file() and (inner / "core" / "core.js").is_file():
                return inner.resolve()
    raise CommandError(
        f"the pages of MiniWoB++ are not in {' or '.join(map(str, places))}: run ./run setup screens, or set "
        f"{ENVIRONMENT} to the folder of the unpacked wheel miniwob 1.1.0"
    )
