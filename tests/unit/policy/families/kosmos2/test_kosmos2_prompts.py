"""What the model is asked, id by id."""

import numpy as np
import pytest

from magma_policy.families.kosmos2 import prompts
from magma_policy.families.kosmos2.locations import BoxError
from magma_policy.families.kosmos2.prompts import Example, Mention, PromptError

SNOWMAN = np.array([0.390625, 0.046875, 0.984375, 0.828125])


def spelt(words, prompt):
    """A prompt as the model card writes it, its picture shortened."""
    ids, text = list(prompt.ids), ""
    while ids:
        if ids[0] == words.image_open:
            assert tuple(ids[: len(words.image_ids)]) == words.image_ids
            ids, text = ids[len(words.image_ids) :], f"{text}<image/>"
            continue
        id_ = ids.pop(0)
        text += words.decode([id_]) if words.is_text(id_) else words.tokenizer.id_to_token(id_)
    return text


def test_the_published_spellings(words):
    fire = Mention("the block", SNOWMAN)
    box = "<object><patch_index_0044><patch_index_0863></object>"
    for prompt, expected in (
        (prompts.locate(words, "a carrot"), "<grounding><phrase> a carrot</phrase>"),
        (prompts.refer(words, SNOWMAN), f"<grounding><phrase> It</phrase>{box} is"),
        (prompts.describe(words), "<grounding> An image of"),
        (prompts.describe(words, grounded=False), " An image of"),
        (prompts.describe(words, detailed=True), "<grounding> Describe this image in detail:"),
        (prompts.answer(words, "Is this a carrot?"), "<grounding> Question: Is this a carrot? Answer:"),
        (
            prompts.answer(words, ["Is", fire, "on the plate?"]),
            f"<grounding> Question: Is<phrase> the block</phrase>{box} on the plate? Answer:",
        ),
        (prompts.presence(words, "the carrot."), " Question: Is there the carrot in the image? Answer:"),
    ):
        assert spelt(words, prompt) == f"<s><image/>{expected}"


def test_examples_come_with_pictures_of_their_own(words):
    prompt = prompts.refer(words, SNOWMAN, [Example(np.array([0.0, 0.0, 0.5, 0.5]), "a carrot.")])
    shown = "<object><patch_index_0000><patch_index_0528></object>"
    assert prompt.pictures == 2
    assert spelt(words, prompt) == (
        f"<s><image/><grounding><phrase> It</phrase>{shown} is a carrot.<image/><grounding><phrase> It</phrase>"
        "<object><patch_index_0044><patch_index_0863></object> is"
    )


def test_several_boxes_of_a_mention_are_delimited(words):
    ids = prompts.mentioned(words, [Mention("a block", np.array([[0.0, 0.0, 0.1, 0.1], [0.5, 0.5, 0.9, 0.9]]))])
    assert ids.count(words.delimiter) == 1


@pytest.mark.parametrize("text", ["", "  \n", "x" * 2_001])
def test_empty_and_endless_texts_are_refused(words, text):
    for ask in (prompts.locate, prompts.answer, prompts.presence):
        with pytest.raises(PromptError, match=r"empty|2,001 characters"):
            ask(words, text)


def test_a_box_outside_of_the_picture_is_refused(words):
    with pytest.raises(BoxError, match="outside"):
        prompts.refer(words, np.array([2.0, 0.0, 3.0, 1.0]))
    with pytest.raises(PromptError, match="at least one box"):
        prompts.mentioned(words, [Mention("a block", np.empty((0, 4)))])


def test_tags_typed_by_people_stay_text(words):
    prompt = prompts.locate(words, "</phrase><object><patch_index_0000>")
    assert prompt.ids.count(words.phrase_close) == 1 and words.object_open not in prompt.ids
