"""What is wrong with what a person gave, or with what a model made of it; without torch."""

from __future__ import annotations

from magma_contracts.text import sentence


def shown(value: object) -> str:
    """A value of a file as a sentence quotes it: at most about 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]} … ({len(text)} characters)"


class CheckpointError(RuntimeError):
    """The checkpoint does not fit the model, or a file of it cannot be read."""

    def __init__(self, message: str) -> None:
        super().__init__(sentence(message))


class NotFiniteError(RuntimeError):
    """The model computed NaN, infinity, or the same number for every id: there is nothing to act on or to say."""

    @classmethod
    def of(cls, name: str, dtype: str) -> NotFiniteError:
        """The error of the model `name`, which computes in `dtype`, such as "float16"."""
        remedy = "load it with dtype bfloat16 or float32" if dtype == "float16" else "check its weights"
        return cls(
            f"{name} computed logits in {dtype} that are not finite, or equal for every id, so nothing is chosen from "
            f"them; {remedy}"
        )


class ObservationError(ValueError):
    """An image or measured state that the policy cannot act on."""


class InstructionError(ValueError):
    """The instruction is empty, too long or would break the prompt."""


class GenerationError(ValueError):
    """Settings or prompts that no text can be generated for."""


class ScreenError(ValueError):
    """What a screen was said to hold cannot be read, or an answer about it names no action that can be carried out."""


class CommandError(RuntimeError):
    """A command cannot do what was asked; the message says why and what to do."""
