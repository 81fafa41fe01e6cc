"""KOSMOS-2 as one thing that points: phrases to boxes, boxes to phrases, pictures to texts with boxes."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from magma_contracts.geometry.boxes import apart
from magma_contracts.grounding import Expression, GroundedText, Grounding, Which
from magma_policy.errors import GenerationError
from magma_policy.families.interface import GenerationSettings, Message, Piece
from magma_policy.families.kosmos2 import network, prompts
from magma_policy.families.kosmos2.decoding import Answer, Decoder, SeenPicture
from magma_policy.families.kosmos2.grammar import AnswerRules
from magma_policy.families.kosmos2.images import pixels_of
from magma_policy.families.kosmos2.locations import between_cells, decode_cells, encode_boxes, neighbours, peaks
from magma_policy.families.kosmos2.network import Network
from magma_policy.families.kosmos2.parser import parse, parse_corners
from magma_policy.families.kosmos2.prompts import Example, Mention, Prompt
from magma_policy.families.kosmos2.vocabulary import Vocabulary
from magma_policy.files.image_files import array_hash
from magma_policy.inference.device import pick_device, pick_dtype

KEPT_PICTURES = 8
"""Frames that are kept as they were read: a frame is asked several questions, by several people at once at most. The
published model keeps 26 MB of each in float32."""

BOX_TOKENS, BOXES_TOKENS, WORDS_TOKENS, CAPTION_TOKENS, DETAIL_TOKENS = 5, 64, 32, 128, 384
"""Longest answers: a box is five ids, a group of boxes, a name, a caption, a detailed one."""
SPEAKER = 0.1
"""How much the model's habit of saying a name counts beside how well it finds the place again by it."""
NOT_FOUND = 0.01
"""A name by which a place is found again less surely is not found again; among such the likeliest is said. The square
round a click is no box of a thing, and none of its names may lead back to it."""
CANDIDATES = 8
"""First corners that are followed when all places of a phrase are asked for."""
FIRST_CORNER = 1
"""Where the first corner stands in an answer that is a box: behind `<object>`."""


class Kosmos2:
    """A loaded checkpoint. Not thread-safe: one question at a time.

    Attributes:
        vocabulary: its ids.
        network: its network.
    """

    def __init__(self, network: Network, vocabulary: Vocabulary) -> None:
        self.network, self.vocabulary = network, vocabulary
        self._decoder = Decoder(network, vocabulary)
        self._seen: OrderedDict[str, SeenPicture] = OrderedDict()

    @classmethod
    def load(cls, directory: str | Path, device: str = "auto", dtype: torch.dtype | str | None = None) -> Kosmos2:
        """Reads a checkpoint directory; see `network.load` for what is refused.

        `device` and `dtype` as `magma_policy.load` takes them.
        """
        place = pick_device(device)
        return cls(*network.load(Path(directory), place, pick_dtype(dtype, place, None)))

    def features(self, image: np.ndarray) -> Tensor:
        """(1, latents, width) of uint8 rgb (H, W, 3)."""
        return self._look(image).features

    @torch.inference_mode()
    def _look(self, image: np.ndarray) -> SeenPicture:
        """A picture as the model reads it; read once, known again by its content."""
        key = array_hash(image)
        if key in self._seen:
            self._seen.move_to_end(key)
            return self._seen[key]
        pixels = torch.from_numpy(pixels_of(image, self.network.geometry.image_side))
        found = self._decoder.read(self.network.features(pixels[None]))
        self._seen[key] = found
        while len(self._seen) > KEPT_PICTURES:
            self._seen.popitem(last=False)
        return found

    def ground(self, image: np.ndarray, phrases: Sequence[str], which: Which = "one") -> list[Grounding]:
        """Where each phrase is: its best place, the places that the model lists itself, or all that it may mean.

        The model finds a place for nearly everything; `presence` and the confidence tell, not that there is a box.

        Raises:
            PromptError: no phrase, an empty or a too long one.
            PictureError: no picture.
        """
        if not phrases:
            raise prompts.PromptError("no phrase was given; say what to look for")
        asked = [prompts.locate(self.vocabulary, phrase) for phrase in phrases]
        if which == "one":
            rules = AnswerRules("box", must_begin=True, max_new_tokens=BOX_TOKENS)
        else:
            rules = AnswerRules("boxes", must_begin=True, max_new_tokens=BOXES_TOKENS)
        said = self._run(image, asked, rules)
        found = []
        for phrase, prompt, answer in zip(phrases, asked, said, strict=True):
            boxes, sure = self._boxes(answer)
            if which == "all":
                more, surer = self._candidates(image, prompt, answer)
                boxes, sure = np.concatenate([boxes, more]), np.concatenate([sure, surer])
            kept = apart(boxes, sure)
            found.append(Grounding(phrase, boxes[kept], sure[kept], self._presence(answer)))
        return found

    def refer(
        self,
        image: np.ndarray,
        box: np.ndarray,
        examples: Sequence[tuple[np.ndarray, Example]] = (),
        *,
        weigh: bool = True,
    ) -> Expression:
        """What stands at a box (4,), in words; `examples` are pictures with a place and its name, shown before.

        A checkpoint may weigh several names (`Geometry.names_weighed`): of those that the model is likeliest to say, it
        says the one by which it best finds the box again. What names alike things alike, it hardly finds again.
        `weigh=False`: greedy, whatever the checkpoint does.

        Raises:
            BoxError: the box lies outside of the picture.
        """
        prompt = prompts.refer(self.vocabulary, box, [example for _, example in examples])
        rules = AnswerRules("words", max_new_tokens=WORDS_TOKENS, stop_at_sentence=True)
        if examples:
            seen = [self.features(picture) for picture in (*(shown for shown, _ in examples), image)]
            return self._expression(self._decoder.run([prompt], [torch.cat(seen)], rules)[0])
        if self.network.geometry.names_weighed == 1 or not weigh:
            return self._expression(self._run(image, [prompt], rules)[0])
        return self._weighed(image, box, prompt, rules)

    def _expression(self, answer: Answer) -> Expression:
        return Expression(self._name(answer.ids), float(np.prod(answer.probabilities)))

    def _weighed(self, image: np.ndarray, box: np.ndarray, prompt: Prompt, rules: AnswerRules) -> Expression:
        """Of the likeliest names the one with the most for it: how well the place is found again by it, and how likely
        it is. Names are heard until no later one can have more, however well it leads back."""
        count = self.network.geometry.names_weighed
        heard: list[Expression] = []
        merits: list[float] = []
        for said, left in self._decoder.likeliest(prompt, self._look(image), rules, count):
            heard += [Expression(self._name(one.ids), one.probability) for one in said]
            # Each look costs much the same, whether it is for one name or for several: so for as many again each time.
            if len(heard) >= 2 * len(merits) and len(heard) > len(merits):
                merits += self._merits(image, box, heard[len(merits) :])
            if merits and max(merits) >= _merit(1.0, left):
                break
        merits += self._merits(image, box, heard[len(merits) :])
        return heard[int(np.argmax(merits))]

    def _merits(self, image: np.ndarray, box: np.ndarray, names: Sequence[Expression]) -> list[float]:
        """What speaks for each name; less than for any other where it is no word at all."""
        told = [number for number, name in enumerate(names) if name.text.strip()]
        merits = np.full(len(names), -np.inf)
        if told:
            found = self._found_again(image, box, [names[number].text for number in told])
            merits[told] = [_merit(back, names[i].probability) for i, back in zip(told, found.tolist(), strict=True)]
        return [float(merit) for merit in merits]

    def _name(self, ids: Sequence[int]) -> str:
        return parse(self.vocabulary, ids).text.rstrip(" .")

    def _found_again(self, image: np.ndarray, box: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """The probability (N,) that each name is answered by this box: that the answer is a box at all, and that its
        corners lie in this one's cells or beside them."""
        vocabulary = self.vocabulary
        first, last = encode_boxes(np.atleast_2d(box), vocabulary.bins)[0]
        asked = [prompts.locate(vocabulary, name) for name in names]
        opened = [Prompt((*prompt.ids, vocabulary.object_open, vocabulary.place(first))) for prompt in asked]
        logits = self._decoder.last_logits(opened, self._look(image), 3)
        presence = _share(logits[:, 0, [vocabulary.object_open, vocabulary.eos]], [0])
        places = logits[:, 1:, vocabulary.first_place : vocabulary.size]
        corners = [_share(places[:, i], neighbours(int(cell), vocabulary.bins)) for i, cell in enumerate((first, last))]
        return np.asarray(presence * corners[0] * corners[1])

    def describe(self, image: np.ndarray, *, detailed: bool = False) -> GroundedText:
        """A caption whose phrases have boxes; it begins as the published prompt does ("An image of")."""
        prompt = prompts.describe(self.vocabulary, detailed=detailed)
        rules = AnswerRules("grounded words", max_new_tokens=DETAIL_TOKENS if detailed else CAPTION_TOKENS)
        lead = [] if detailed else self.vocabulary.encode("An image of")
        return self._grounded(self._run(image, [prompt], rules)[0], lead)

    def caption(self, image: np.ndarray, beams: int) -> str:
        """A caption in plain words, behind the published prompt ("An image of"), by a search with so many beams."""
        prompt = prompts.describe(self.vocabulary, grounded=False)
        rules = AnswerRules("words", max_new_tokens=CAPTION_TOKENS)
        heard = self._decoder.likeliest(prompt, self._look(image), rules, beams, per_token=True)
        best = next(said[0] for said, _ in heard if said)
        return parse(self.vocabulary, best.ids).text.strip()

    def answer(
        self, image: np.ndarray, question: str | Sequence[str | Mention], *, grounded: bool = True
    ) -> GroundedText:
        """The answer to a question, parts of which may be tied to boxes."""
        prompt = prompts.answer(self.vocabulary, question, grounded=grounded)
        rules = AnswerRules("grounded words" if grounded else "words", max_new_tokens=CAPTION_TOKENS)
        return self._grounded(self._run(image, [prompt], rules)[0])

    def pieces(self, message: Message, settings: GenerationSettings) -> Iterator[Piece]:
        """The answer in plain words to a question about one picture, in one piece; see `Talker`.

        Raises:
            PromptError: another number of pictures, words of a system, earlier turns, a text that is too long.
            GenerationError: a temperature: this model's answers are its likeliest ones.
        """
        if len(message.images) != 1:
            raise prompts.PromptError(f"KOSMOS-2 answers about one picture, got {len(message.images)}")
        if (message.system or "").strip() or message.earlier:
            raise prompts.PromptError("KOSMOS-2 answers single questions: leave system words and earlier turns out")
        if settings.temperature:
            raise GenerationError(f"KOSMOS-2 always says what is likeliest: temperature 0, got {settings.temperature}")
        prompt = prompts.answer(self.vocabulary, message.question, grounded=False)
        rules = AnswerRules("words", max_new_tokens=settings.max_new_tokens)
        answer = self._run(message.images[0], [prompt], rules)[0]
        finish: Literal["stop", "length"] = "stop" if answer.finished else "length"
        yield Piece(self._grounded(answer).text.strip(), finish, len(prompt.ids), len(answer.ids))

    def said(
        self,
        image: np.ndarray,
        prompt: Prompt,
        rules: AnswerRules,
        lead: Sequence[int] = (),
        *,
        keep_turned: bool = False,
    ) -> GroundedText:
        """What is answered to any prompt about a picture, by any rules; `lead` are ids of the prompt's end that belong
        to the text, such as a phrase whose boxes are asked for; `keep_turned` as of `parse_corners`."""
        return self._grounded(self._run(image, [prompt], rules)[0], lead, keep_turned=keep_turned)

    def _grounded(self, answer: Answer, lead: Sequence[int] = (), *, keep_turned: bool = False) -> GroundedText:
        """The text of an answer behind the ids of its beginning, each box with its confidence."""
        found, corners = parse_corners(self.vocabulary, [*lead, *answer.ids], keep_turned=keep_turned)
        entities = []
        for one, at in zip(found.entities, corners, strict=True):
            said = at - len(lead)
            boxes = [
                self._between(box, *((answer.corners[int(i)], self.vocabulary.cell(answer.ids[int(i)])) for i in pair))
                for box, pair in zip(one.boxes, said, strict=True)
            ]
            sure = answer.confidence(said, self.vocabulary)
            entities.append(dataclasses.replace(one, boxes=np.array(boxes), confidences=sure))
        return dataclasses.replace(found, entities=tuple(entities))

    def _between(self, box: np.ndarray, *corners: tuple[np.ndarray, int]) -> np.ndarray:
        """A box (4,) of cells, or where between cells its two corners (probabilities of all cells, said cell) are."""
        if not self.network.geometry.between_cells or not (box[:2] < box[2:]).all():
            return box
        bins = self.vocabulary.bins
        first, last = (between_cells(likely.reshape(bins, bins), cell) for likely, cell in corners)
        return np.concatenate([first, last]) if (first < last).all() else box

    def _run(self, image: np.ndarray, asked: Sequence[Prompt], rules: AnswerRules) -> list[Answer]:
        return self._decoder.run(asked, self._look(image), rules)

    def _presence(self, answer: Answer) -> float:
        """The probability that the model would have begun with a box rather than ended at once."""
        more = answer.first[self.vocabulary.eos] - answer.first[self.vocabulary.object_open]
        return float(1.0 / (1.0 + np.exp(np.clip(more, -60.0, 60.0))))

    def _boxes(self, answer: Answer) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) of an answer that is a group, and their confidences (N,)."""
        entities = self._grounded(answer).entities
        if not entities:
            return np.empty((0, 4)), np.empty(0)
        return entities[0].boxes, entities[0].confidences

    def _candidates(self, image: np.ndarray, prompt: Prompt, answer: Answer) -> tuple[np.ndarray, np.ndarray]:
        """Boxes from the likeliest first corners, each with its likeliest second one: (N, 4) and confidences (N,)."""
        vocabulary = self.vocabulary
        likely = answer.corners[FIRST_CORNER]
        cells = peaks(likely.reshape(vocabulary.bins, vocabulary.bins))[:CANDIDATES]
        opened = [
            Prompt((*prompt.ids, vocabulary.object_open, vocabulary.place(cell)), prompt.pictures) for cell in cells
        ]
        said = self._run(image, opened, AnswerRules("box", max_new_tokens=BOX_TOKENS))
        pairs = [(int(cell), vocabulary.cell(one.ids[0])) for cell, one in zip(cells, said, strict=True)]
        sure = [likely[cell] * one.corners[0][pair[1]] for cell, one, pair in zip(cells, said, pairs, strict=True)]
        boxes = [
            self._between(box, (likely, int(cell)), (one.corners[0], pair[1]))
            for box, cell, one, pair in zip(
                decode_cells(np.array(pairs), vocabulary.bins), cells, said, pairs, strict=True
            )
        ]
        return np.array(boxes), np.array(sure, dtype=float)


def _merit(back: float, probability: float) -> float:
    """What speaks for a name by which a place is found again with a probability, and which is said with another."""
    return float(np.log(back + NOT_FOUND) + SPEAKER * np.log(max(probability, np.finfo(float).tiny)))


def _share(logits: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
    """The probability (N,) of all `chosen` together, of logits (N, all)."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights[:, chosen].sum(axis=1) / weights.sum(axis=1))
