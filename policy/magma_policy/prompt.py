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
    control characters, or contains markup (`<image>`, `<|...|>`) that the tokenizer would read as a special token.
    """
    if not isinstance(instruction, str):
        raise InstructionError(f"instruction must be a string, got {type(instruction).__name__}")
    text = instruction.strip()
    if not text:
        raise InstructionError("instruction is empty; say what the robot should do, e.g. 'put the carrot on the plate'")
    if len(text) > MAX_INSTRUCTION_LENGTH:
        raise InstructionError(f"instruction has {len(text)} characters; at most {MAX_INSTRUCTION_LENGTH} are allowed")
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise InstructionError(f"instruction contains control characters: {text!r}")
    _refuse_markup(text, "instruction")
    return text


def check_question(question: str) -> str:
    """Like `check_instruction` for free text: longer, and line breaks and tabs are allowed."""
    if not isinstance(question, str):
        raise InstructionError(f"question must be a string, got {type(question).__name__}")
    text = question.strip()
    if not text:
        raise InstructionError("question is empty")
    if len(text) > MAX_QUESTION_LENGTH:
        raise InstructionError(f"question has {len(text)} characters; at most {MAX_QUESTION_LENGTH} are allowed")
    if any((ord(c) < 32 and c not in "\n\t\r") or ord(c) == 127 for c in text):
        raise InstructionError(f"question contains control characters: {text!r}")
    _refuse_markup(text, "question")
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
