"""What is wrong with a dataset."""

from __future__ import annotations

from magma_contracts.text import sentence


class DatasetError(ValueError):
    """A dataset is missing, damaged, of another version or not what its own description says. The text is one line that
    a terminal can show, and begins with the file."""

    def __init__(self, message: str) -> None:
        super().__init__(sentence(" ".join(message.split())))
