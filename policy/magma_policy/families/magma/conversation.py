"""A message as the parts of a prompt: the template's own markup, people's words, and the model's earlier answers.

Kept apart, so that words that look like markup can be encoded as the characters they are made of, and training can tell
answers from questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from magma_policy.errors import InstructionError
from magma_policy.families.interface import Message
from magma_policy.families.magma.prompt import SYSTEM_TEXT, user_content
from magma_policy.families.magma.tokenizer import MagmaTokenizer
from magma_policy.instructions import check_answer, check_question, check_system


@dataclass(frozen=True)
class Part:
    """A piece of a prompt, and whose words they are."""

    text: str
    whose: Literal["template", "people", "model"]


def parts_of(message: Message, markers: bool) -> list[Part]:
    """The prompt that asks a message, ready for the answer; `markers` as in `prompt.user_content`.

    Raises InstructionError for words that would break it, and for images that belong to no question.
    """
    literal = message.literal
    system = check_system(SYSTEM_TEXT if message.system is None else message.system, literal)
    parts = [Part(f"<|begin_of_text|>{_header('system')}", "template"), Part(system, "people")]
    own = len(message.images) - sum(turn.images for turn in message.earlier)
    if own < 0 or any(turn.images < 0 for turn in message.earlier):
        raise InstructionError(
            f"earlier turns have {[turn.images for turn in message.earlier]} images, the message {len(message.images)}"
        )
    for turn in message.earlier:
        parts += _asked(check_question(turn.question, literal), turn.images, markers)
        parts.append(Part(check_answer(turn.answer, literal), "model"))
    parts += _asked(check_question(message.question, literal), own, markers)
    return parts


def encode_parts(tokenizer: MagmaTokenizer, parts: Sequence[Part]) -> list[list[int]]:
    """Ids of each part, the first with the second begin-of-text of the published form in front.

    Together they are the ids of the whole text where no word looks like markup: parts end at special tokens and line
    breaks, where the tokenizer divides every text.
    """
    rows = [tokenizer.encode(p.text)[1:] if p.whose == "template" else tokenizer.literal(p.text) for p in parts]
    return [[tokenizer.tokens.begin_of_text, *rows[0]], *rows[1:]]


def encode_answered(
    tokenizer: MagmaTokenizer, message: Message, answer: str, markers: bool
) -> tuple[list[int], list[bool]]:
    """Ids of a message with its answer, and which of them a model has to say itself: all answers, and behind each the
    end of the turn. Raises InstructionError as `parts_of`."""
    said = Part(check_answer(answer, message.literal), "model")
    parts = [*parts_of(message, markers), said, Part("<|eot_id|>", "template")]
    ids: list[int] = []
    taught: list[bool] = []
    ends = False
    for part, row in zip(parts, encode_parts(tokenizer, parts), strict=True):
        own = part.whose == "model"
        ids += row
        taught += [own or (ends and place == 0) for place in range(len(row))]
        ends = own
    return ids, taught


def _header(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


def _asked(question: str, images: int, markers: bool) -> list[Part]:
    before = f"<|eot_id|>{_header('user')}{user_content('', images, markers)}"
    behind = f"<|eot_id|>{_header('assistant')}"
    return [Part(before, "template"), Part(question, "people"), Part(behind, "template")]
