"""Rows in the exact schemas of the published annotation files, written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

CAPTION = "Two dogs play with a dog ."
"""Two animals and one of them again: a phrase of two boxes, and two phrases that share a word."""
WIDTH, HEIGHT = 200, 100


def flickr() -> dict[str, Any]:
    """As MDETR's script writes it: one image a caption, sizes in quotes."""
    return {
        "info": [],
        "licenses": [],
        "images": [
            {
                "file_name": "7.jpg",
                "height": "100",
                "width": "200",
                "id": 31,
                "caption": CAPTION,
                "dataset_name": "flickr",
                "tokens_negative": [[0, len(CAPTION)]],
                "sentence_id": 0,
                "original_img_id": 7,
                "tokens_positive_eval": [[[0, 8]], [[19, 24]]],
            }
        ],
        "annotations": [
            _box(31, 0, [10, 10, 50, 50], [[0, 8]]),
            _box(31, 1, [110, 10, 50, 50], [[0, 8], [19, 24]]),
        ],
        "categories": [{"supercategory": "object", "id": 1, "name": "object"}],
    }


def _box(image: int, number: int, box: list[float], spans: list[list[int]]) -> dict[str, Any]:
    return {
        "area": box[2] * box[3],
        "iscrowd": 0,
        "image_id": image,
        "category_id": 1,
        "id": number,
        "bbox": box,
        "tokens_positive": spans,
    }


SENTENCES = (
    "[/EN#11/animals Two dogs] play with [/EN#12/animals/other a dog] .\n[/EN#0/notvisual It] is [/EN#13/scene day] .\n"
)
BOXES = """<annotation>
<filename>7.jpg</filename><size><width>200</width><height>100</height><depth>3</depth></size>
<object><name>11</name><bndbox><xmin>10</xmin><ymin>10</ymin><xmax>60</xmax><ymax>60</ymax></bndbox></object>
<object><name>11</name><name>12</name>
<bndbox><xmin>110</xmin><ymin>10</ymin><xmax>160</xmax><ymax>60</ymax></bndbox></object>
<object><name>13</name><scene>1</scene><nobndbox>0</nobndbox></object>
</annotation>
"""


def entities(folder: Path) -> Path:
    """The authors' own folder."""
    for name in ("Sentences", "Annotations"):
        (folder / name).mkdir(parents=True)
    (folder / "Sentences/7.txt").write_text(SENTENCES, encoding="utf-8")
    (folder / "Annotations/7.xml").write_text(BOXES, encoding="utf-8")
    return folder


def refcoco(name: str = "refcocog") -> dict[str, Any]:
    """Two expressions for one object and one for another, in one picture."""
    return {
        "info": {"year": 2014},
        "licenses": [],
        "images": [
            {
                "file_name": "COCO_train2014_000000000042.jpg",
                "height": HEIGHT,
                "width": WIDTH,
                "id": number,
                "original_id": 42,
                "caption": caption,
                "dataset_name": name,
                "tokens_negative": [[0, 3]],
            }
            for number, caption in ((5, "the left dog"), (6, "a brown dog"), (7, "the cat on the right"))
        ],
        "annotations": [
            _box(5, 5, [10.5, 10, 50, 50], [[4, 12]]) | {"original_id": 900},
            _box(6, 6, [10.5, 10, 50, 50], [[2, 11]]) | {"original_id": 900},
            _box(7, 7, [110, 10, 50, 50], [[4, 7]]) | {"original_id": 901},
        ],
        "categories": [],
    }


def captions() -> dict[str, Any]:
    """Karpathy's split."""
    sentences = [
        {"tokens": ["a", "dog", "runs"], "raw": "A dog runs .", "imgid": 0, "sentid": 0},
        {"tokens": ["the", "dog"], "raw": "The dog", "imgid": 0, "sentid": 1},
    ]
    return {
        "images": [
            {"sentids": [0, 1], "imgid": 0, "sentences": sentences, "split": "test", "filename": "7.jpg"},
            {"sentids": [5], "imgid": 1, "sentences": sentences[:1], "split": "train", "filename": "8.jpg"},
            {"sentids": [6], "imgid": 2, "sentences": sentences[:1], "split": "test", "filename": "9.jpg"},
        ],
        "dataset": "flickr30k",
    }


def vqa(answers: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One question and ten people's answers."""
    questions = {
        "info": {},
        "task_type": "Open-Ended",
        "data_type": "mscoco",
        "license": {},
        "data_subtype": "val2014",
        "questions": [{"image_id": 42, "question": "What is it?", "question_id": 42000}],
    }
    told = {
        "info": {},
        "license": {},
        "data_subtype": "val2014",
        "data_type": "mscoco",
        "annotations": [
            {
                "question_type": "what is",
                "multiple_choice_answer": answers[0],
                "answers": [
                    {"answer": answer, "answer_confidence": "yes", "answer_id": number}
                    for number, answer in enumerate(answers, 1)
                ],
                "image_id": 42,
                "answer_type": "other",
                "question_id": 42000,
            }
        ],
    }
    return questions, told


def write(path: Path, data: object) -> Path:
    """As JSON."""
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def picture(path: Path) -> Path:
    """A grey picture of the size that the rows tell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(path)
    return path
