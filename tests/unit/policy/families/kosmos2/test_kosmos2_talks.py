"""KOSMOS-2 as a model that is asked questions in words."""

from __future__ import annotations

import pytest

from magma_policy.errors import GenerationError
from magma_policy.families.interface import GenerationSettings, Message, Turn
from magma_policy.families.kosmos2.prompts import PromptError


def test_an_answer_is_plain_words_and_counts_its_tokens(model, pictures):
    message = Message("Is there a carrot in the image?", pictures[:1], literal=True)
    (piece,) = model.pieces(message, GenerationSettings(6))
    (again,) = model.pieces(message, GenerationSettings(6))
    assert piece == again and 1 <= piece.tokens <= 6 and piece.finish in ("stop", "length")
    assert (piece.finish == "length") == (piece.tokens == 6) or piece.finish == "stop"
    assert piece.prompt_tokens > 9 and "<" not in piece.text
    (short,) = model.pieces(message, GenerationSettings(1))
    assert short.tokens == 1


@pytest.mark.parametrize(
    ("message", "match"),
    [
        ({"images": []}, "one picture, got 0"),
        ({"images": 2}, "one picture, got 2"),
        ({"system": "Be brief."}, "leave system words"),
        ({"earlier": [Turn("a", "b")]}, "earlier turns"),
        ({"question": " "}, "question is empty"),
    ],
)
def test_what_it_cannot_be_asked(model, pictures, message, match):
    images = message.pop("images", 1)
    asked = {"question": "What?", "images": pictures[: images if isinstance(images, int) else 0]} | message
    with pytest.raises(PromptError, match=match):
        list(model.pieces(Message(**asked), GenerationSettings()))


def test_it_takes_no_chances(model, pictures):
    with pytest.raises(GenerationError, match="temperature 0"):
        list(model.pieces(Message("What?", pictures[:1]), GenerationSettings(temperature=0.5)))
