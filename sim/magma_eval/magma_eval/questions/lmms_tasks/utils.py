"""What the task files of this folder call: pictures, questions and scores of published rows.

lmms-eval loads this file by its path, in an environment of its own that holds this package without its dependencies.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from magma_eval.questions.answers import chosen_letter, options_of, yes_or_no

VSR_IMAGES, INTENTQA_VIDEOS, SCREENSPOT_BOXES = "VSR_IMAGES", "INTENTQA_VIDEOS", "SCREENSPOT_BOXES"
LETTERS = "ABCDE"
MARK_SIZE = 14
"""Pixels, of the numbers on a screenshot."""

Row = dict[str, Any]
Scores = dict[str, dict[str, Any]]


def mean_score(results: Sequence[dict[str, Any]]) -> float:
    """Of all questions, those with an answer that cannot be read among them."""
    return sum(result["score"] for result in results) / len(results)


# VSR: https://github.com/cambridgeltl/visual-spatial-reasoning, pictures of COCO in the folder VSR_IMAGES.


def vsr_pictures(row: Row) -> list[Image.Image]:
    return [Image.open(_file(VSR_IMAGES, row["image"])).convert("RGB")]


def vsr_question(row: Row) -> str:
    return f"{row['caption']}\nIs this true of the picture? Answer True or False."


def vsr_target(row: Row) -> str:
    return "True" if row["label"] else "False"


def vsr_scores(row: Row, results: Sequence[str]) -> Scores:
    right = bool(row["label"])
    said = {"image": row["image"], "relation": row["relation"], "ground_truth": vsr_target(row)}
    return {"vsr_accuracy": {**said, "score": float(yes_or_no(results[0]) is right)}}


# SpatialEval: https://huggingface.co/datasets/MilaWang/SpatialEval.


def spatialeval_pictures(row: Row) -> list[Image.Image]:
    return [row["image"].convert("RGB")]


def spatialeval_question(row: Row) -> str:
    return f"{row['text'].rstrip()}\nAnswer with the option's letter from the given choices directly."


def spatialeval_target(row: Row) -> str:
    return str(row["oracle_option"])


def spatialeval_scores(row: Row, results: Sequence[str]) -> Scores:
    """By the option that is named; and as the published scorer does, whether the right words are part of the answer, so
    that "1" is in "10"."""
    task, _, question = str(row["id"]).rpartition(".")
    letter = str(row["oracle_option"]).strip().strip("()").upper()
    said = {"image": task, "question": question, "answer": letter}
    inside = str(row["oracle_answer"]).lower().strip() in results[0].lower()
    named = chosen_letter(results[0], options_of(row["text"]))
    return {
        "spatialeval_accuracy": {**said, "score": float(named == letter)},
        "spatialeval_substring": {**said, "score": float(inside)},
    }


# IntentQA: https://github.com/JoseponLee/IntentQA, videos of NExT-QA in the folder INTENTQA_VIDEOS.


def intentqa_videos(row: Row) -> list[str]:
    return [str(_file(INTENTQA_VIDEOS, f"{row['video_id']}.mp4"))]


def intentqa_question(row: Row) -> str:
    options = [f"{letter}. {str(row[f'a{index}']).strip()}" for index, letter in enumerate(LETTERS)]
    lead = f"{str(row['question']).strip().rstrip('?')}?"
    return "\n".join([lead, *options, "Answer with the option's letter from the given choices directly."])


def intentqa_target(row: Row) -> str:
    return LETTERS[int(row["answer"])]


def intentqa_scores(row: Row, results: Sequence[str]) -> Scores:
    right, named = intentqa_target(row), chosen_letter(results[0], options_of(intentqa_question(row)))
    said = {"video_id": str(row["video_id"]), "type": row["type"], "answer": right}
    return {"intentqa_accuracy": {**said, "score": float(named == right)}}


# ScreenSpot by marks: https://huggingface.co/datasets/rootsautomation/ScreenSpot, and the boxes that are numbered on
# each screenshot: the JSON file SCREENSPOT_BOXES, {file_name: [[x1, y1, x2, y2], ...]} in fractions of its sides.


def screenspot_pictures(row: Row) -> list[Image.Image]:
    """The screenshot with its boxes drawn and numbered from 0."""
    picture = row["image"].convert("RGB")
    draw = ImageDraw.Draw(picture)
    for number, (left, top, right, bottom) in enumerate(_boxes(row)):
        corners = (left * picture.width, top * picture.height, right * picture.width, bottom * picture.height)
        draw.rectangle(corners, outline=(255, 0, 0), width=2)
        place = (corners[0] + 2, max(0, corners[1] - MARK_SIZE))
        draw.rectangle(draw.textbbox(place, str(number)), fill=(255, 0, 0))
        draw.text(place, str(number), fill=(255, 255, 255))
    return [picture]


def screenspot_question(row: Row) -> str:
    return (
        f'In this view I need to click a button to "{row["instruction"]}"? '
        "Provide the coordinates and the mark index of the containing bounding box if applicable."
    )


def screenspot_target(row: Row) -> str:
    return json.dumps([float(side) for side in row["bbox"]])


def screenspot_scores(row: Row, results: Sequence[str]) -> Scores:
    """Whether the place that is named lies in the box, borders included: the middle of the mark's box, else a point,
    else the middle of a box. `reachable`: whether the middle of some marked box lies there at all."""
    boxes, target = _boxes(row), [float(side) for side in row["bbox"]]
    said = {
        "image": row["file_name"],
        "cell": f"{_platform(row['data_source'])} {row['data_type']}",
        "reachable": any(_inside(_middle(box), target) for box in boxes),
    }
    place = _named_place(results[0], boxes)
    return {"screenspot_accuracy": {**said, "score": float(place is not None and _inside(place, target))}}


def _named_place(answer: str, boxes: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    mark = re.search(r"mark\W*(?:index\W*)?(\d{1,4})", answer, re.IGNORECASE)
    if mark is not None:
        number = int(mark.group(1))
        return _middle(boxes[number]) if number < len(boxes) else None
    numbers = [float(text) for text in re.findall(r"\d*\.\d+|\d+", answer)]
    if len(numbers) not in (2, 4) or max(numbers) > 1:
        return None
    return (numbers[0], numbers[1]) if len(numbers) == 2 else _middle(numbers)


def _middle(box: Sequence[float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _inside(place: tuple[float, float], box: Sequence[float]) -> bool:
    return box[0] <= place[0] <= box[2] and box[1] <= place[1] <= box[3]


def _platform(source: str) -> str:
    if source in ("ios", "android"):
        return "mobile"
    return "desktop" if source in ("macos", "windows") else "web"


def _boxes(row: Row) -> list[list[float]]:
    boxes = _all_boxes(os.environ.get(SCREENSPOT_BOXES, "")).get(row["file_name"])
    if boxes is None:
        raise KeyError(f"{SCREENSPOT_BOXES} has no boxes for {row['file_name']!r}")
    return boxes


@lru_cache(maxsize=1)
def _all_boxes(path: str) -> dict[str, list[list[float]]]:
    if not path:
        raise FileNotFoundError(f"set {SCREENSPOT_BOXES} to the JSON file with the boxes of each screenshot")
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    for name, boxes in data.items():
        for box in boxes:
            if len(box) != 4 or not all(0 <= side <= 1 for side in box):
                raise ValueError(f"{path}: {name}: a box is four fractions from 0 to 1, got {box}")
    return dict(data)


def _file(variable: str, name: str) -> Path:
    folder = os.environ.get(variable, "")
    if not folder:
        raise FileNotFoundError(f"set {variable} to the folder that holds {name}")
    path = Path(folder, name)
    if not path.resolve().is_relative_to(Path(folder).resolve()):
        raise ValueError(f"{name!r} names no file in {folder}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {variable} should be the folder that holds it")
    return path
