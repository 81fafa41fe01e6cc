"""Words that people give to a model: checked before any prompt is made of them."""

from __future__ import annotations

from magma_policy.errors import InstructionError

MAX_INSTRUCTION_LENGTH = 512


MAX_QUESTION_LENGTH = 16384
LINES = "\n\t\r"
"""Control characters that free text may have."""


def check_instruction(instruction: str) -> str:
    """Return the instruction without surrounding white space.

    Raises InstructionError when it is not text, is empty, is longer than `MAX_INSTRUCTION_LENGTH` characters, has
    control characters or halves of characters, or contains markup (`<image>`, `<|...|>`) that the tokenizer would read
    as a special token.
    """
    text = _check(instruction, "instruction", MAX_INSTRUCTION_LENGTH)
    if not text:
        raise InstructionError("instruction is empty; say what the robot should do, e.g. 'put the carrot on the plate'")
    return text


def check_question(question: str, literal: bool = False) -> str:
    """Like `check_instruction` for free text: longer, and line breaks and tabs are allowed. `literal` allows markup,
    for callers that encode it as the characters it is made of."""
    text = _check(question, "question", MAX_QUESTION_LENGTH, LINES, literal)
    if not text:
        raise InstructionError("question is empty")
    return text


def check_system(system: str, literal: bool = False) -> str:
    """Like `check_question` for the words that stand before every question; they may be empty."""
    return _check(system, "system text", MAX_QUESTION_LENGTH, LINES, literal)


def check_answer(answer: str, literal: bool = False) -> str:
    """Like `check_question` for what a model answered before; it may be empty."""
    return _check(answer, "answer", MAX_QUESTION_LENGTH, LINES, literal)


def _check(value: str, what: str, longest: int, allowed: str = "", literal: bool = False) -> str:
    if not isinstance(value, str):
        raise InstructionError(f"{what} must be a string, got {type(value).__name__}")
    text = value.strip()
    if len(text) > longest:
        raise InstructionError(f"{what} has {len(text)} characters; at most {longest} are allowed")
    if any((ord(c) < 32 and c not in allowed) or ord(c) == 127 for c in text):
        raise InstructionError(f"{what} contains control characters: {text!r}")
    half = next((c for c in text if "\ud800" <= c <= "\udfff"), None)
    if half is not None:
        raise InstructionError(f"{what} contains half of a character ({half!r}), as after a wrong decoding: {text!r}")
    if not literal:
        _refuse_markup(text, what)
    return text


def _refuse_markup(text: str, what: str) -> None:
    if "<|" in text or any(tag in text for tag in ("<image", "<action>", "<pad>")):
        raise InstructionError(f"{what} contains reserved markup: {text!r}")
