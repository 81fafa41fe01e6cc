"""What finds phrases in pictures: one interface, and an adapter for each kind of model.

Scores are of different scales. The paper's threshold of 0.65 is GLIP's; every adapter here has one of its own, and a
run can be told another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from magma_contracts.geometry.boxes import in_fractions
from magma_contracts.grounding import Grounder
from magma_policy.errors import CommandError
from magma_policy.grit.pairs import scene_key
from magma_policy.grounding.expressions import Thing, resolve
from magma_policy.grounding.scenes import SceneError, read_scene_file


@dataclass(frozen=True)
class Found:
    """A box: the index of its phrase, x1 y1 x2 y2 in fractions of the picture, and a score."""

    phrase: int
    box: tuple[float, float, float, float]
    score: float


class Detector(Protocol):
    """Finds phrases. `threshold` is the score from which its boxes are believed; `name` tells others apart."""

    name: str
    threshold: float

    def ground(self, image: np.ndarray, phrases: Sequence[str], key: str) -> list[Found]:
        """Boxes of phrases in a picture (H, W, 3) uint8 rgb; `key` is the picture's name."""


class SceneOracle:
    """What stands where in rendered scenes, as the simulator knows it: for tests and measurements of everything else.

    It is asked as a detector is, by phrases alone: "the block" of two blocks gets both.
    """

    threshold = 0.5

    def __init__(self, things: Mapping[str, Sequence[Thing]] | None = None, files: Sequence[Path] = ()) -> None:
        """
        Args:
            things: by the picture's key.
            files: of sets of scenes, by whose names keys begin (`pairs.scene_key`); read when they are asked about.

        Raises:
            CommandError: two sets have the same name.
        """
        self._things = dict(things or {})
        self._files = {scene_key(path, 0).rpartition("-")[0]: path for path in files}
        if len(self._files) < len(files):
            raise CommandError("two sets of scenes have the same name, so that nothing tells their pictures apart")
        self.name = "oracle"

    def ground(self, image: np.ndarray, phrases: Sequence[str], key: str) -> list[Found]:
        """Every thing that a phrase fits. Raises CommandError for a picture of no known scene."""
        things = self._of(key)
        return [
            Found(number, things[index].box, 1.0)
            for number, phrase in enumerate(phrases)
            for index in resolve(things, phrase)
        ]

    def _of(self, key: str) -> Sequence[Thing]:
        file = self._files.get(key.rpartition("-")[0])
        if key not in self._things and file is not None:
            try:
                scenes = read_scene_file(file)[1]
            except SceneError as error:
                raise CommandError(str(error)) from error
            self._things = {scene_key(file, row): scene.things for row, scene in enumerate(scenes)}
        if key not in self._things:
            raise CommandError(f"picture {key} is none of the oracle's scenes")
        return self._things[key]


class PointingModel:
    """A model that points, such as KOSMOS-2, as a detector: all places that it means, and how sure it is of each."""

    threshold = 0.1
    """Of the product of two corners' probabilities and of presence; a guess, to be tuned on one's own pictures."""

    def __init__(self, grounder: Grounder, name: str) -> None:
        self._grounder, self.name = grounder, name

    def ground(self, image: np.ndarray, phrases: Sequence[str], key: str) -> list[Found]:
        """Places of each phrase; of those that the model holds for absent none."""
        del key
        return [
            Found(number, _box(box), float(sure) * answer.presence)
            for number, answer in enumerate(self._grounder.ground(image, phrases, "all"))
            for box, sure in zip(answer.boxes, answer.confidences, strict=True)
            if box[0] < box[2] and box[1] < box[3]
        ]


TOKENS, QUERIES = ("grounding-dino", "mm-grounding-dino"), ("owlvit", "owlv2")
THRESHOLDS = {"grounding-dino": 0.35, "mm-grounding-dino": 0.35, "owlvit": 0.1, "owlv2": 0.2}
"""Near the defaults of the library's examples, by `model_type`; tune them on your own pictures."""


class ZeroShotDetector:
    """transformers' zero-shot object detectors: those that score each token of a sentence (Grounding DINO and
    MM-Grounding-DINO), and those that score each of several texts (OWL-ViT, OWLv2)."""

    def __init__(self, model: Any, processor: Any, name: str, least: float | None = None) -> None:
        """
        Args:
            least: smallest score that is asked for; below a quarter of the model's own threshold, and below this one,
                boxes are not even told.

        Raises:
            CommandError: a detector of another kind.
        """
        self._model, self._processor, self.name = model, processor, name
        self._kind = str(model.config.model_type)
        if self._kind not in THRESHOLDS:
            raise CommandError(
                f"{name}: a {self._kind} is no detector that is known here; there are {list(THRESHOLDS)}"
            )
        self.threshold = THRESHOLDS[self._kind]
        self._floor = self.threshold / 4 if least is None else min(self.threshold / 4, least)

    @classmethod
    def load(cls, checkpoint: str | Path, device: str, least: float | None = None) -> ZeroShotDetector:
        """A folder, or owner/name on the Hugging Face Hub. Raises CommandError."""
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        try:
            processor = AutoProcessor.from_pretrained(checkpoint, trust_remote_code=False)
            model = AutoModelForZeroShotObjectDetection.from_pretrained(
                checkpoint, trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise CommandError(f"--detector {checkpoint}: {str(error).splitlines()[0]}") from error
        return cls(model.to(device).eval(), processor, str(checkpoint), least)

    def ground(self, image: np.ndarray, phrases: Sequence[str], key: str) -> list[Found]:
        """The best phrase of each of the model's queries; those far below the threshold are left out."""
        del key
        if not phrases:
            return []
        import torch
        from PIL import Image

        text: Any
        cut: dict[str, Any] = {}
        if self._kind in TOKENS:
            text, spans = joined(phrases)
        else:
            text, spans = [[phrase.lower() for phrase in phrases]], []
            # Of a phrase that is longer than the model reads (16 tokens) the beginning is looked for.
            cut = {"truncation": True}
        inputs = self._processor(images=Image.fromarray(image), text=text, return_tensors="pt", **cut)
        with torch.inference_mode():
            outputs = self._model(**inputs.to(self._model.device))
        logits = outputs.logits[0].float()
        likely, best = logits.sigmoid().cpu().numpy(), logits.argmax(dim=1).cpu().numpy()
        if self._kind in TOKENS:
            offsets = self._processor.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
            likely = by_phrase(likely, offsets, spans)
            best = likely.argmax(axis=1)
        boxes = outputs.pred_boxes[0].float().cpu().numpy().astype(np.float64)
        return self._found(likely, best, _corners(boxes, image.shape, square=self._kind == "owlv2"))

    def _found(self, likely: np.ndarray, best: np.ndarray, boxes: np.ndarray) -> list[Found]:
        """Boxes of queries with the `best` phrase of each, which among surest ones only logits tell."""
        found = []
        for row in np.flatnonzero(likely.max(axis=1) >= self._floor).tolist():
            box = boxes[row].clip(0.0, 1.0)
            if box[0] < box[2] and box[1] < box[3]:
                found.append(Found(int(best[row]), _box(box), float(likely[row, best[row]])))
        return found


def joined(phrases: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Phrases as one sentence, lower case with full stops between, and where each stands in it."""
    text, spans = "", []
    for phrase in phrases:
        # A stop or a break within a phrase would part it in two.
        words = " ".join(phrase.lower().replace(".", " ").split())
        spans.append((len(text), len(text) + len(words)))
        text += f"{words}. "
    return text.rstrip(), spans


def by_phrase(likely: np.ndarray, offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """(queries, phrases) of (queries, tokens): the likeliest token of each phrase's own characters, by their places.
    Phrases whose tokens were cut off are never found."""
    found = np.zeros((len(likely), len(spans)))
    for number, (start, end) in enumerate(spans):
        tokens = [at for at, (first, last) in enumerate(offsets) if first < last and start <= first and last <= end]
        tokens = [at for at in tokens if at < likely.shape[1]]
        if tokens:
            found[:, number] = likely[:, tokens].max(axis=1)
    return found


def _corners(boxes: np.ndarray, shape: tuple[int, ...], *, square: bool) -> np.ndarray:
    """Middle and size as corners (N, 4), fractions of the picture. OWLv2 looks at a square that the picture fills from
    the upper left, so its fractions are of that."""
    middle, size = boxes[:, :2], boxes[:, 2:]
    found = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
    if not square:
        return found
    height, width = shape[:2]
    return in_fractions(found * max(height, width), width, height)


def _box(values: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2
