"""Prompts in Magma's Llama-3 chat form.

The texts are the published ones (model card of microsoft/Magma-8B and its robot demo). Encoding a templated prompt
with special tokens switched on prepends a second begin-of-text; the original processor does so, hence so do we.
"""

from __future__ import annotations

SYSTEM_TEXT = "You are agent that can see, talk and act."
IMAGE_LINE = "<image_start><image><image_end>"
ROBOT_QUESTION = "What action should the robot take to {task}?"
MAX_INSTRUCTION_LENGTH = 512
MAX_QUESTION_LENGTH = 16384


class InstructionError(ValueError):
    """The instruction is empty, too long or would break the prompt."""


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


def check_question(question: str) -> str:
    """Like `check_instruction` for free text: longer, and line breaks and tabs are allowed."""
    text = _check(question, "question", MAX_QUESTION_LENGTH, "\n\t\r")
    if not text:
        raise InstructionError("question is empty")
    return text


def check_system(system: str) -> str:
    """Like `check_question` for the words that stand before every question; they may be empty."""
    return _check(system, "system text", MAX_QUESTION_LENGTH, "\n\t\r")


def _check(value: str, what: str, longest: int, allowed: str = "") -> str:
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
    _refuse_markup(text, what)
    return text


def _refuse_markup(text: str, what: str) -> None:
    if "<|" in text or any(tag in text for tag in ("<image", "<action>", "<pad>")):
        raise InstructionError(f"{what} contains reserved markup: {text!r}")


def chat(user: str, system: str = SYSTEM_TEXT) -> str:
    """Llama-3 chat template with the assistant's header at the end, ready for generation."""
    parts = ["<|begin_of_text|>"]
    for role, content in (("system", system), ("user", user)):
        parts.append(f"<|start_header_id|>{role}<|end_header_id|>\n\n{content.strip()}<|eot_id|>")
    parts.append("<|start_header_id|>assistant<|end_header_id|>\n\n")
    return "".join(parts)


def user_content(question: str, pictures: int, markers: bool = True) -> str:
    """The question behind one line per picture; without `markers` the lines lack the start and end tokens."""
    line = IMAGE_LINE if markers else "<image>"
    return f"{line}\n" * pictures + question


def robot_prompt(instruction: str, markers: bool = True) -> str:
    """The prompt that asks for one robot action, with one picture."""
    return chat(user_content(ROBOT_QUESTION.format(task=check_instruction(instruction)), 1, markers))


def split_head(ids: list[int], image_id: int) -> tuple[list[int], list[int]]:
    """Prompt ids before the picture, which no instruction changes, and the rest from `<image>` on.

    Raises InstructionError when there is no `<image>` id.
    """
    if image_id not in ids:
        raise InstructionError(f"the prompt has no <image> token (id {image_id})")
    at = ids.index(image_id)
    return ids[:at], ids[at:]
