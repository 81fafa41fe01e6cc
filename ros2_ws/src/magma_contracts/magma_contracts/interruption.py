"""How a command ends on Ctrl-C: in one sentence, with the status that shells expect."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130
"""128 and SIGINT's number, as shells count"""


@contextmanager
def ends_on_interrupt(command: str, advice: str = "") -> Iterator[None]:
    """Ends the program when somebody presses Ctrl-C inside of the block.

    Args:
        command: its name.
        advice: what to do next, if there is something.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"{command}: interrupted{'; ' if advice else ''}{advice}", file=sys.stderr)
        sys.exit(INTERRUPTED)
