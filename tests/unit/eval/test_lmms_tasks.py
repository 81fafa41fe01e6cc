"""The task files for lmms-eval, on rows in the published schemas, as the harness calls them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from magma_eval.questions import lmms_tasks
from magma_eval.questions.benchmarks import question_set
from magma_eval.questions.lmms_tasks import utils
from magma_eval.questions.samples import read_samples
from magma_eval.questions.summary import summarise_task
from magma_policy.marks.set_of_mark import ui_question

FOLDER = Path(lmms_tasks.__file__).parent
FILES = sorted(FOLDER.glob("*.yaml"))
VSR = {
    "image": "000000017697.jpg", "image_link": "http://images.cocodataset.org/train2017/000000017697.jpg",
    "caption": "The car is behind the suitcase.", "label": 1, "relation": "behind", "subj": "car", "obj": "suitcase",
    "annotator_id": 1, "vote_true_validator_id": [2, 3], "vote_false_validator_id": [],
}  # fmt: skip
SPATIAL = {
    "id": "spatialmap.vqa.17.2", "image": Image.new("RGB", (20, 10), (0, 0, 255)),
    "text": "You see a map.\nHow many are there?\nAvailable options:\nA. 10\nB. 1\nC. 2\nD. 3",
    "oracle_answer": "1", "oracle_option": "B", "oracle_full_answer": "B. 1",
}  # fmt: skip
INTENT = {
    "video_id": 4010069381, "frame_count": 369, "width": 640, "height": 480, "question": "why did he smile",
    "answer": 3, "qid": 0, "type": "CW", "a0": "he is sad", "a1": "to dance", "a2": "to sit", "a3": "he is happy",
    "a4": "to eat",
}  # fmt: skip
SCREEN = {
    "file_name": "mobile_1.png", "bbox": [0.5, 0.5, 0.9, 0.7], "instruction": "close this", "data_type": "icon",
    "data_source": "ios", "image": Image.new("RGB", (200, 100), (9, 9, 9)),
}  # fmt: skip


class Loader(yaml.SafeLoader):
    """Reads `!function utils.name` as that function, as the harness does."""


Loader.add_constructor("!function", lambda loader, node: getattr(utils, loader.construct_scalar(node).split(".")[1]))


@pytest.fixture
def boxes(tmp_path, monkeypatch):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"mobile_1.png": [[0.0, 0.0, 0.2, 0.2], [0.55, 0.55, 0.65, 0.65]]}))
    monkeypatch.setenv(utils.SCREENSPOT_BOXES, str(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_task_file_names_functions_that_are_there(path):
    task = yaml.load(path.read_text(), Loader)
    assert task["task"] == path.stem and question_set(path.stem).name, "the report knows it"
    assert task["output_type"] == "generate_until" and task["generation_kwargs"]["temperature"] == 0
    assert all(callable(task[name]) for name in ("doc_to_visual", "doc_to_text", "doc_to_target", "process_results"))
    assert all(callable(metric["aggregation"]) for metric in task["metric_list"])


def test_vsr(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="set VSR_IMAGES"):
        utils.vsr_pictures(VSR)
    monkeypatch.setenv(utils.VSR_IMAGES, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no such file"):
        utils.vsr_pictures(VSR)
    Image.new("RGB", (4, 4)).save(tmp_path / VSR["image"])
    assert utils.vsr_pictures(VSR)[0].size == (4, 4)
    with pytest.raises(ValueError, match="names no file"):
        utils.vsr_pictures(VSR | {"image": "../../etc/passwd"})
    assert utils.vsr_question(VSR).startswith("The car is behind the suitcase.\n")
    for answer, score in (("True", 1.0), ("yes, it is", 1.0), ("False.", 0.0), ("perhaps", 0.0)):
        assert utils.vsr_scores(VSR, [answer])["vsr_accuracy"]["score"] == score


def test_spatialeval_by_option_and_by_the_published_scorer():
    def scores(answer):
        said = utils.spatialeval_scores(SPATIAL, [answer])
        return said["spatialeval_accuracy"]["score"], said["spatialeval_substring"]["score"]

    assert scores("B") == (1.0, 0.0) and scores("B. 1") == (1.0, 1.0) and scores("1") == (1.0, 1.0)
    assert scores("A. 10") == (0.0, 1.0), '"1" is in "10"'
    assert utils.spatialeval_scores(SPATIAL, ["B"])["spatialeval_accuracy"]["image"] == "spatialmap.vqa.17"


def test_intentqa(tmp_path, monkeypatch):
    monkeypatch.setenv(utils.INTENTQA_VIDEOS, str(tmp_path))
    (tmp_path / "4010069381.mp4").write_bytes(b"film")
    assert utils.intentqa_videos(INTENT) == [str(tmp_path / "4010069381.mp4")]
    assert utils.intentqa_question(INTENT).splitlines()[:3] == ["why did he smile?", "A. he is sad", "B. to dance"]
    for answer, score in (("D", 1.0), ("he is happy", 1.0), ("A", 0.0), ("To dance", 0.0), ("", 0.0)):
        assert utils.intentqa_scores(INTENT, [answer])["intentqa_accuracy"]["score"] == score


def test_screenspot_by_marks(boxes):
    assert utils.screenspot_question(SCREEN) == ui_question("close this"), "as the model was taught to be asked"
    shown = np.asarray(utils.screenspot_pictures(SCREEN)[0])
    assert (shown[55, 110] == (255, 0, 0)).all() and (np.asarray(SCREEN["image"]) == 9).all()
    for answer, score in (
        ("Coordinate: (0.1, 0.1). Mark: 1", 1.0),
        ("Mark: 0", 0.0),
        ("Mark: 7", 0.0),
        ("(0.5, 0.7)", 1.0),
        ("[0.5, 0.5, 0.9, 0.7]", 1.0),
        ("(600, 600)", 0.0),
        ("there", 0.0),
    ):
        said = utils.screenspot_scores(SCREEN, [answer])["screenspot_accuracy"]
        assert said["score"] == score, answer
    assert said["reachable"] and said["cell"] == "mobile icon"
    with pytest.raises(KeyError, match="no boxes for 'other"):
        utils.screenspot_scores(SCREEN | {"file_name": "other.png"}, ["Mark: 1"])


@pytest.mark.parametrize(
    ("task", "row", "right", "choices"),
    [
        ("vsr", VSR, lambda dice: {"label": dice.randrange(2)}, ["True", "False"]),
        ("spatialeval_vqa", SPATIAL, lambda dice: {"oracle_option": dice.choice("ABCD")}, list("ABCD")),
        ("intentqa", INTENT, lambda dice: {"answer": dice.randrange(5)}, list("ABCDE")),
    ],
)
def test_a_guessing_model_meets_the_chance_level(tmp_path, task, row, right, choices):
    dice, lines = random.Random(task), []
    config = yaml.load((FOLDER / f"{task}.yaml").read_text(), Loader)
    for number in range(1500):
        one = row | right(dice) | {"id": f"map.vqa.{number}.0", "image": f"{number}.jpg", "video_id": number}
        answer = dice.choice(choices)
        lines.append(
            {"doc_id": number, "target": str(config["doc_to_target"](one)), "filtered_resps": [answer]}
            | {"input": config["doc_to_text"](one), "doc_hash": str(number)}
            | config["process_results"](one, [answer])
        )
    path = tmp_path / "guess" / f"20261130_samples_{task}.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    told = summarise_task(read_samples(path))
    assert told.count == 1500 and told.unparsed == 0 and told.problems == ()
    assert told.chance == pytest.approx(1 / len(choices)) and told.score.low <= told.chance <= told.score.high
    if task != "spatialeval_vqa":
        assert told.harness.value == told.score.value, "both judge by the same rules"
