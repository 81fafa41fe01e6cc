"""The published annotation files as questions with their answers, each in its own schema.

MDETR's files (Kamath et al. 2021, arXiv 2104.12763) are COCO's layout with one "image" a caption or expression.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.boxes import in_fractions
from magma_contracts.text import encodes, listed
from magma_eval.grounding.entities import MarkedSentence, read_boxes, read_sentences
from magma_eval.grounding.files import AnnotationError, Row, read_rows, unique
from magma_eval.grounding.items import (
    CAPTIONS,
    EXPRESSIONS,
    FLICKR,
    NAMES,
    VQA,
    CaptionItem,
    ItemSet,
    NameItem,
    PlaceItem,
    QuestionItem,
)
from magma_eval.typed import shown

ANSWER_KINDS = ("yes/no", "number", "other")


def read_flickr(path: Path, entities: Path | None = None) -> ItemSet:
    """Phrases of Flickr30k Entities, of MDETR's final_flickr_separateGT_{val,test}.json.

    Args:
        path: the file.
        entities: the authors' own folder (Sentences, Annotations). The published protocol takes the truth from there,
            and only there are kinds told. Without it the boxes are those of the file, where of boxes of a sentence
            that are nearly the same (0.95) one stands for all.

    Raises:
        AnnotationError: names file and row.
    """
    file = read_rows(path)
    boxes = _boxes_by_span(file)
    items: list[PlaceItem] = []
    seen: set[int] = set()
    for row in file.rows("images"):
        number, caption, size = row.number("id"), row.text("caption"), row.size()
        unique(row, number, seen, "id")
        picture, sentence = row.file_name(), row.number("sentence_id")
        original = row.number("original_img_id")
        marked = None if entities is None else _marked(row, entities, original, sentence, caption)
        for place, group in enumerate(row.items_of("tokens_positive_eval")):
            spans = Row(row.where, {"tokens_positive_eval": group}).spans("tokens_positive_eval", caption)
            if not spans:
                raise AnnotationError(f"{row.where}: tokens_positive_eval[{place}] is empty")
            start, end = spans[0]
            kinds: tuple[str, ...] = ()
            if marked is None:
                truth = boxes.get((number, start, end))
            else:
                truth, kinds = marked.get((start, end), (None, ()))
            if truth is None:
                raise AnnotationError(f"{row.where}: the phrase {shown(caption[start:end])} has no box")
            items.append(
                PlaceItem(
                    f"{original}_{sentence}_{place}", picture, caption[start:end], caption[:start], truth, size, kinds
                )
            )
    notes = () if entities else ("truth: boxes of the annotation file; kinds are told with --entities",)
    return _whole(path, ItemSet(FLICKR, _split(path), tuple(items), notes))


def _boxes_by_span(file: Row) -> dict[tuple[int, int, int], NDArray[np.float64]]:
    """Boxes (N, 4) in pixels by image, start and end of a phrase."""
    captions = {row.number("id"): row.text("caption") for row in file.rows("images")}
    found: dict[tuple[int, int, int], list[NDArray[np.float64]]] = defaultdict(list)
    for row in file.rows("annotations"):
        image = row.number("image_id")
        if image not in captions:
            raise AnnotationError(f"{row.where}: image_id {image} is none of the images")
        box = row.box()
        # A phrase may stand twice for one entity.
        for span in dict.fromkeys(row.spans("tokens_positive", captions[image])):
            found[(image, *span)].append(box)
    return {key: np.array(boxes) for key, boxes in found.items()}


def _marked(
    row: Row, entities: Path, original: int, sentence: int, caption: str
) -> dict[tuple[int, int], tuple[NDArray[np.float64], tuple[str, ...]]]:
    """Boxes and kinds by span, of the authors' files."""
    sentences = read_sentences(entities / "Sentences" / f"{original}.txt")
    if sentence >= len(sentences):
        raise AnnotationError(f"{row.where}: picture {original} has no sentence {sentence} in {entities}")
    said: MarkedSentence = sentences[sentence]
    if said.text != caption:
        raise AnnotationError(f"{row.where}: the caption is another one than in {entities}: {said.text[:80]!r}")
    boxes = read_boxes(entities / "Annotations" / f"{original}.xml")
    return {
        (phrase.start, phrase.end): (boxes[phrase.entity], phrase.kinds)
        for phrase in said.phrases
        if phrase.entity in boxes
    }


def read_expressions(path: Path) -> ItemSet:
    """Referring expressions, of MDETR's finetune_refcoco{,+,g}_{val,testA,testB,test}.json. Raises AnnotationError."""
    benchmark, rows = _expressions(path)
    items = tuple(
        PlaceItem(str(image.number("id")), image.file_name(), image.text("caption"), "", box.box()[None], image.size())
        for image, box in rows
    )
    return ItemSet(benchmark, _split(path), items)


def read_names(path: Path) -> ItemSet:
    """The same files the other way round: objects, each with all expressions that people gave it."""
    benchmark, rows = _expressions(path)
    told: dict[int, list[str]] = defaultdict(list)
    first: dict[int, tuple[Row, Row]] = {}
    for image, box in rows:
        thing = box.number("original_id")
        told[thing].append(image.text("caption"))
        first.setdefault(thing, (image, box))
        if first[thing][0].file_name() != image.file_name():
            raise AnnotationError(f"{image.where}: object {thing} is in another picture than before")
    items = []
    for thing, (image, box) in first.items():
        place = in_fractions(box.box(), *image.size()).clip(0.0, 1.0)
        items.append(NameItem(str(thing), image.file_name(), place, tuple(told[thing])))
    return ItemSet(benchmark + NAMES, _split(path), tuple(items))


def _expressions(path: Path) -> tuple[str, list[tuple[Row, Row]]]:
    """Name of the benchmark, and each expression with the one annotation that it means."""
    file = read_rows(path)
    images: dict[int, Row] = {}
    sets: set[str] = set()
    for row in file.rows("images"):
        number = row.number("id")
        if number in images:
            raise AnnotationError(f"{row.where}: id {number} came before")
        images[number] = row
        name = row.text("dataset_name")
        if name not in EXPRESSIONS:
            raise AnnotationError(f"{row.where}: dataset_name must be one of {', '.join(EXPRESSIONS)}: {shown(name)}")
        sets.add(name)
        if len(sets) > 1:
            raise AnnotationError(f"{row.where}: expressions of {' and '.join(sorted(sets))} in one file")
    pairs: dict[int, Row] = {}
    for row in file.rows("annotations"):
        number = row.number("image_id")
        if number not in images:
            raise AnnotationError(f"{row.where}: image_id {number} is none of the images")
        if number in pairs:
            raise AnnotationError(f"{row.where}: image {number} has two boxes, an expression means one thing")
        pairs[number] = row
    for number, row in images.items():
        if number not in pairs:
            raise AnnotationError(f"{row.where}: no annotation says where it is")
    if not images:
        raise AnnotationError(f"{path}: it holds no expression")
    return EXPRESSIONS[sets.pop()], [(row, pairs[number]) for number, row in images.items()]


def read_captions(path: Path, split: str = "test") -> ItemSet:
    """Pictures and their captions, of Karpathy's dataset_flickr30k.json, of which `split` is taken."""
    items, seen = [], set[str]()
    splits: set[str] = set()
    for row in read_rows(path).rows("images"):
        splits.add(row.text("split"))
        if row.text("split") != split:
            continue
        picture = row.file_name("filename")
        unique(row, picture, seen, "filename")
        references = tuple(sentence.text("raw") for sentence in row.rows("sentences"))
        if not references:
            raise AnnotationError(f"{row.where}: it has no caption")
        items.append(CaptionItem(picture, picture, references))
    if splits and split not in splits:
        raise AnnotationError(f"{path}: there is no split {shown(split)}; there are {listed(sorted(splits))}")
    return _whole(path, ItemSet(CAPTIONS, split, tuple(items)))


def read_vqa(questions: Path, annotations: Path | None = None) -> ItemSet:
    """VQAv2's v2_OpenEnded_mscoco_*_questions.json, with v2_mscoco_*_annotations.json where that is published.

    The pictures' names follow from `data_subtype`; test-dev's pictures are those of test2015.
    """
    file = read_rows(questions)
    subtype = file.text("data_subtype")
    folder = "test2015" if subtype.startswith("test") else subtype
    if not re.fullmatch(r"[a-z]+\d{4}", folder):
        raise AnnotationError(f"{questions}: data_subtype must be such as val2014, got {shown(subtype)}")
    told = {} if annotations is None else _vqa_answers(annotations)
    items, seen = [], set[int]()
    for row in file.rows("questions"):
        number = row.number("question_id")
        unique(row, number, seen, "question_id")
        if annotations is not None and number not in told:
            raise AnnotationError(f"{row.where}: question {number} has no answers in {annotations}")
        image, kind, answers = told.get(number, (row.number("image_id"), "", ()))
        if image != row.number("image_id"):
            raise AnnotationError(f"{row.where}: question {number} is about another picture in {annotations}")
        picture = f"COCO_{folder}_{image:012d}.jpg"
        items.append(QuestionItem(str(number), picture, row.text("question"), answers, kind))
    return _whole(questions, ItemSet(VQA, subtype, tuple(items)))


def _vqa_answers(path: Path) -> dict[int, tuple[int, str, tuple[str, ...]]]:
    """Picture, kind of answer and answers of each question."""
    found: dict[int, tuple[int, str, tuple[str, ...]]] = {}
    for row in read_rows(path).rows("annotations"):
        number, kind = row.number("question_id"), row.text("answer_type")
        if number in found:
            raise AnnotationError(f"{row.where}: question_id {number} came before")
        if kind not in ANSWER_KINDS:
            raise AnnotationError(f"{row.where}: answer_type must be one of {', '.join(ANSWER_KINDS)}: {shown(kind)}")
        given = list(row.rows("answers"))
        people: set[int] = set()
        for one in given:
            unique(one, one.number("answer_id"), people, "answer_id")
        answers = tuple(_said(one) for one in given)
        if not answers:
            raise AnnotationError(f"{row.where}: nobody answered question {number}")
        found[number] = (row.number("image_id"), kind, answers)
    return found


def _said(row: Row) -> str:
    """A person's answer; an empty one is one."""
    value = row.data.get("answer")
    if not isinstance(value, str):
        raise AnnotationError(f"{row.where}: answer must be a text")
    if not encodes(value):
        raise AnnotationError(f"{row.where}: answer holds half a character: {shown(value)}")
    return value


def _split(path: Path) -> str:
    """The last word of a file's name."""
    return path.stem.rpartition("_")[2]


def _whole(path: Path, found: ItemSet) -> ItemSet:
    if not found.items:
        raise AnnotationError(f"{path}: nothing is asked in it")
    return found
