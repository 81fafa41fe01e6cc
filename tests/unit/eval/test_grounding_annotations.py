"""Published annotation files: read as they are, refused where they are damaged."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from magma_eval.grounding.annotations import read_captions, read_expressions, read_flickr, read_names, read_vqa
from magma_eval.grounding.files import AnnotationError
from magma_eval.grounding.items import ItemSet, NameItem, PlaceItem, QuestionItem
from tests.unit.eval.grounding_files import BOXES, SENTENCES, captions, entities, flickr, refcoco, vqa, write

READERS: dict[str, tuple[Callable[..., ItemSet], Callable[[], dict[str, Any]]]] = {
    "final_flickr_separateGT_test.json": (read_flickr, flickr),
    "finetune_refcocog_val.json": (read_expressions, refcoco),
    "dataset_flickr30k.json": (read_captions, captions),
    "v2_OpenEnded_mscoco_val2014_questions.json": (read_vqa, lambda: vqa(["a dog"] * 10)[0]),
}


def test_phrases_of_flickr30k(tmp_path):
    found = read_flickr(write(tmp_path / "final_flickr_separateGT_test.json", flickr()))
    first, second = found.items
    assert (found.benchmark, found.split) == ("Flickr30k Entities", "test")
    assert isinstance(first, PlaceItem) and isinstance(second, PlaceItem)
    assert (first.id, first.picture, first.phrase, first.before) == ("7_0_0", "7.jpg", "Two dogs", "")
    assert (second.phrase, second.before) == ("a dog", "Two dogs play with ")
    np.testing.assert_array_equal(first.boxes, [[10, 10, 60, 60], [110, 10, 160, 60]])
    np.testing.assert_array_equal(second.boxes, [[110, 10, 160, 60]])
    assert first.size == (200, 100)
    assert first.kinds == () and "--entities" in found.notes[0]


def test_the_authors_folder_tells_boxes_and_kinds(tmp_path):
    path = write(tmp_path / "final_flickr_separateGT_val.json", flickr())
    found = read_flickr(path, entities(tmp_path / "entities"))
    assert [item.kinds for item in found.items] == [("animals",), ("animals", "other")]
    np.testing.assert_array_equal(found.items[0].boxes, [[10, 10, 60, 60], [110, 10, 160, 60]])
    assert found.notes == ()


def test_expressions_and_the_same_files_the_other_way_round(tmp_path):
    path = write(tmp_path / "finetune_refcocog_testA.json", refcoco())
    found = read_expressions(path)
    assert (found.benchmark, found.split) == ("RefCOCOg", "testA")
    assert [item.phrase for item in found.items] == ["the left dog", "a brown dog", "the cat on the right"]
    np.testing.assert_array_equal(found.items[0].boxes, [[10.5, 10, 60.5, 60]])
    names = read_names(path)
    assert names.benchmark == "RefCOCOg names"
    assert [item.references for item in names.items] == [("the left dog", "a brown dog"), ("the cat on the right",)]
    first = names.items[0]
    assert isinstance(first, NameItem)
    np.testing.assert_allclose(first.box, [0.0525, 0.1, 0.3025, 0.6])


@pytest.mark.parametrize(
    ("name", "called"), [("refcoco", "RefCOCO"), ("refcoco+", "RefCOCO+"), ("refcocog", "RefCOCOg")]
)
def test_each_set_goes_by_its_own_name(tmp_path, name, called):
    assert read_expressions(write(tmp_path / "x_val.json", refcoco(name))).benchmark == called


def test_captions_of_one_split(tmp_path):
    path = write(tmp_path / "dataset_flickr30k.json", captions())
    assert [item.picture for item in read_captions(path).items] == ["7.jpg", "9.jpg"]
    assert read_captions(path, "train").items[0].references == ("A dog runs .",)
    with pytest.raises(AnnotationError, match=r"no split 'dev'; there are test, train"):
        read_captions(path, "dev")


def test_questions_with_and_without_answers(tmp_path):
    questions, told = vqa(["a dog"] * 9 + [""])
    path = write(tmp_path / "q.json", questions)
    item = read_vqa(path, write(tmp_path / "a.json", told)).items[0]
    assert isinstance(item, QuestionItem)
    assert (item.picture, item.kind, len(item.answers)) == ("COCO_val2014_000000000042.jpg", "other", 10)
    assert read_vqa(path).items[0].answers == ()
    questions["data_subtype"] = "test-dev2015"
    assert read_vqa(write(path, questions)).items[0].picture == "COCO_test2015_000000000042.jpg"


def _set(*path: Any, to: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = to

    return change


def _drop(*path: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        del data[path[-1]]

    return change


FLICKR, REF = "final_flickr_separateGT_test.json", "finetune_refcocog_val.json"


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (FLICKR, _drop("images", 0, "caption"), r"images\[0\]: has no caption"),
        (FLICKR, _set("images", 0, "caption", to=3), r"images\[0\]: caption must be a text, got 3"),
        (FLICKR, _set("images", 0, "height", to="tall"), r"images\[0\]: height must be a whole number from 1 on"),
        (FLICKR, _set("images", 0, "width", to=True), r"images\[0\]: width must be a whole number"),
        (FLICKR, _set("images", 0, to=[]), r"images\[0\]: expected an object"),
        (FLICKR, _set("images", to={}), r"images must be a list"),
        (FLICKR, _set("images", to=[]), r"nothing is asked|none of the images"),
        (FLICKR, _set("images", 0, "tokens_positive_eval", 1, to=[]), r"tokens_positive_eval\[1\] is empty"),
        (FLICKR, _set("images", 0, "tokens_positive_eval", 1, to=[[19, 99]]), r"within a caption of 26 characters"),
        (FLICKR, _set("images", 0, "tokens_positive_eval", 1, to=[[9, 13]]), r"the phrase 'play' has no box"),
        (FLICKR, _set("images", 0, "file_name", to="../../etc/passwd"), r"file_name must be the name of a file"),
        (FLICKR, _set("annotations", 1, "bbox", to=[1, 2, 3]), r"annotations\[1\]: bbox must be x, y, width, height"),
        (FLICKR, _set("annotations", 1, "bbox", to=[1, 2, -3, 4]), r"annotations\[1\]: bbox .*\[1, 2, -3, 4\]"),
        (FLICKR, _set("annotations", 1, "bbox", to=[1, 2, float("nan"), 4]), r"annotations\[1\]: bbox"),
        (FLICKR, _set("annotations", 1, "image_id", to=9), r"annotations\[1\]: image_id 9 is none of the images"),
        (FLICKR, _set("annotations", 0, "tokens_positive", to=[[8, 8]]), r"annotations\[0\]: tokens_positive"),
        (REF, _set("images", 1, "id", to=5), r"images\[1\]: id 5 came before"),
        (REF, _set("images", 1, "dataset_name", to="refclef"), r"images\[1\]: dataset_name must be one of refcoco"),
        (REF, _set("images", 1, "dataset_name", to="refcoco"), r"images\[1\]: expressions of refcoco and refcocog"),
        (REF, _set("annotations", 1, "image_id", to=5), r"annotations\[1\]: image 5 has two boxes"),
        (REF, _drop("annotations", 2), r"images\[2\]: no annotation says where it is"),
        ("dataset_flickr30k.json", _set("images", 0, "sentences", to=[]), r"images\[0\]: it has no caption"),
        (
            "dataset_flickr30k.json",
            _drop("images", 0, "sentences", 1, "raw"),
            r"images\[0\].sentences\[1\]: has no raw",
        ),
        (
            "dataset_flickr30k.json",
            _set("images", 2, "filename", to="7.jpg"),
            r"images\[2\]: filename 7.jpg came before",
        ),
        ("v2_OpenEnded_mscoco_val2014_questions.json", _drop("questions", 0, "question"), r"questions\[0\]: has no q"),
        (
            "v2_OpenEnded_mscoco_val2014_questions.json",
            _set("data_subtype", to="../x"),
            r"data_subtype must be such as",
        ),
    ],
)
def test_a_damaged_row_is_named_with_its_file(tmp_path, name, change, told):
    reader, rows = READERS[name]
    data = copy.deepcopy(rows())
    change(data)
    with pytest.raises(AnnotationError, match=told) as error:
        reader(write(tmp_path / name, data))
    assert name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"images": 3}', "[" * 100_000, '{"images": [], "images": []}', "\ud800"]
)
@pytest.mark.parametrize("name", sorted(READERS))
def test_what_is_no_such_file_is_refused(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(AnnotationError, match=name.replace(".", r"\.")):
        READERS[name][0](path)
    with pytest.raises(AnnotationError, match="cannot be read"):
        READERS[name][0](tmp_path / "nowhere.json")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(READERS)), st.data())
def test_any_value_in_any_place_is_read_or_refused_in_a_sentence(tmp_path, name, data):
    reader, rows = READERS[name]
    content = copy.deepcopy(rows())
    place: Any = content
    while True:
        step = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        deeper = place[step]
        if not isinstance(deeper, (dict, list)) or not deeper or data.draw(st.booleans()):
            break
        place = deeper
    place[step] = data.draw(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}))
    )
    try:
        reader(write(tmp_path / name, content))
    except AnnotationError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000


@pytest.mark.parametrize(
    ("sentences", "boxes", "told"),
    [
        (SENTENCES.replace("[/EN#11/animals", "[/EN#x/animals"), BOXES, r"7\.txt, line 1: .* does not begin a phrase"),
        (SENTENCES.replace("dogs]", "dogs"), BOXES, r"the caption is another one|not closed"),
        ("[/EN#1/people A man\n", BOXES, r"7\.txt, line 1: a phrase of entity 1 is not closed"),
        (SENTENCES.replace("play", "sleep"), BOXES, r"images\[0\]: the caption is another one"),
        ("\n", BOXES, r"picture 7 has no sentence 0"),
        (SENTENCES, BOXES.replace("<xmin>10<", "<xmin>ten<"), r"7\.xml, object 0: xmin must be a number of pixels"),
        (SENTENCES, BOXES.replace("<xmax>60<", "<xmax>6<"), r"7\.xml, object 0: xmax or ymax is smaller"),
        (SENTENCES, BOXES.replace("<name>12</name>", ""), r"images\[0\]: the phrase 'a dog' has no box"),
        (SENTENCES, BOXES[:-20], r"7\.xml: it is not XML"),
        (SENTENCES, '<!DOCTYPE a [<!ENTITY b "c">]>' + BOXES, r"7\.xml: defines entities of XML"),
    ],
)
def test_damage_in_the_authors_folder_is_named(tmp_path, sentences, boxes, told):
    folder = entities(tmp_path / "entities")
    (folder / "Sentences/7.txt").write_text(sentences, encoding="utf-8")
    (folder / "Annotations/7.xml").write_text(boxes, encoding="utf-8")
    with pytest.raises(AnnotationError, match=told):
        read_flickr(write(tmp_path / "final_flickr_separateGT_test.json", flickr()), folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("annotations", 0, "answers", to=[]), r"annotations\[0\]: nobody answered question 42000"),
        (
            _set("annotations", 0, "answers", 1, "answer_id", to=1),
            r"answers\[1\]: answer_id '?1'? came before|answer_id",
        ),
        (
            _set("annotations", 0, "answers", 1, "answer", to=None),
            r"annotations\[0\].answers\[1\]: answer must be a text",
        ),
        (_set("annotations", 0, "answer_type", to="maybe"), r"annotations\[0\]: answer_type must be one of"),
        (_set("annotations", 0, "question_id", to=1), r"questions\[0\]: question 42000 has no answers"),
        (_set("annotations", 0, "image_id", to=1), r"questions\[0\]: question 42000 is about another picture"),
    ],
)
def test_damaged_answers_are_named(tmp_path, change, told):
    questions, annotations = vqa(["a dog"] * 10)
    change(annotations)
    with pytest.raises(AnnotationError, match=told):
        read_vqa(write(tmp_path / "q.json", questions), write(tmp_path / "a.json", annotations))


def test_a_huge_number_is_refused(tmp_path):
    text = json.dumps(flickr()).replace('"id": 31', '"id": 1' + "0" * 4000)
    path = tmp_path / "final_flickr_separateGT_test.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AnnotationError):
        read_flickr(path)
