"""The sentences that ask an OpenVLA for an action.

Source: `vla-scripts/deploy.py` of github.com/openvla/openvla, where the form hangs on the checkpoint's path; here it
hangs on the language model that the checkpoint names, whose training decided it.
"""

from __future__ import annotations

from magma_policy.families.openvla.config import PromptForm
from magma_policy.instructions import check_instruction

VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
QUESTION = "What action should the robot take to {task}?"
FORMS: dict[PromptForm, str] = {
    "pure": f"In: {QUESTION}\nOut:",
    "vicuna": f"{VICUNA_SYSTEM} USER: {QUESTION} ASSISTANT:",
}


def robot_prompt(instruction: str, form: PromptForm) -> str:
    """The prompt that asks for one robot action; the instruction is in small letters, as in training. Raises
    InstructionError."""
    return FORMS[form].format(task=check_instruction(instruction).lower())
