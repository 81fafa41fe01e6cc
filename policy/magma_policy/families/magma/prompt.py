"""Prompts in Magma's Llama-3 chat form.

The texts are the published ones (model card of microsoft/Magma-8B and its robot demo). Encoding a templated prompt
with special tokens switched on prepends a second begin-of-text; the original processor does so, hence so do we.
"""

from __future__ import annotations

from magma_policy.errors import InstructionError
from magma_policy.instructions import check_instruction

SYSTEM_TEXT = "You are agent that can see, talk and act."
IMAGE_LINE = "<image_start><image><image_end>"
ROBOT_QUESTION = "What action should the robot take to {task}?"


def chat(user: str, system: str = SYSTEM_TEXT) -> str:
    """Llama-3 chat template with the assistant's header at the end, ready for generation."""
    parts = ["<|begin_of_text|>"]
    for role, content in (("system", system), ("user", user)):
        parts.append(f"<|start_header_id|>{role}<|end_header_id|>\n\n{content.strip()}<|eot_id|>")
    parts.append("<|start_header_id|>assistant<|end_header_id|>\n\n")
    return "".join(parts)


def user_content(question: str, pictures: int, markers: bool = True) -> str:
    """The question behind one line per image; without `markers` the lines lack the start and end tokens."""
    line = IMAGE_LINE if markers else "<image>"
    return f"{line}\n" * pictures + question


def robot_prompt(instruction: str, markers: bool = True) -> str:
    """The prompt that asks for one robot action, with one image."""
    return chat(user_content(ROBOT_QUESTION.format(task=check_instruction(instruction)), 1, markers))


def text_prompt(question: str, images: int, markers: bool = True) -> str:
    """The prompt that asks one question about so many images."""
    return chat(user_content(question, images, markers))


def split_head(ids: list[int], image_id: int) -> tuple[list[int], list[int]]:
    """Prompt ids before the image, which no instruction changes, and the rest from `<image>` on.

    Raises InstructionError when there is no `<image>` id.
    """
    if image_id not in ids:
        raise InstructionError(f"the prompt has no <image> token (id {image_id})")
    at = ids.index(image_id)
    return ids[:at], ids[at:]
