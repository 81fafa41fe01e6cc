"""What models learn to point at phrases from, and are judged by: pairs of pictures and captions, GRIT's records,
published annotation files, and answers to them."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from file_mutations import Edit, Reading, Target
from mutation_edits import bytes_edits, json_edits, jsonl_edits, line_edits

from magma_eval.grounding.annotations import read_captions, read_expressions, read_flickr, read_vqa
from magma_eval.grounding.answers import read_answers
from magma_eval.grounding.items import ItemSet
from magma_eval.results.episode_result import ResultsError
from magma_policy.errors import CommandError
from magma_policy.files.image_files import encoded_png
from magma_policy.grit.pairs import pairs_of, shards_of
from magma_policy.grit.published import PictureIndex, published_records
from magma_policy.training.recipes.grit.config import GritConfig
from magma_policy.training.recipes.grit.material import read_material
from magma_policy_client.content import file_digests

JSON_EDITS: tuple[Edit, ...] = (json_edits, json_edits, line_edits, bytes_edits)
LINES: tuple[Edit, ...] = (jsonl_edits, jsonl_edits, line_edits, bytes_edits)
PNG = encoded_png(np.full((8, 12, 3), 90, dtype=np.uint8))
RECORD = {
    "key": "a",
    "clip_similarity_x": 0.25,
    "id": 7,
    "url": "https://example.org/a.png",
    "caption": "a dog in a field",
    "width": 12,
    "height": 8,
    "noun_chunks": [[0, 5, 0.1, 0.1, 0.5, 0.5, 0.9]],
    "ref_exps": [[0, 16, 0.1, 0.1, 0.5, 0.5, 0.9]],
}
ANNOTATION = {"image_id": 1, "category_id": 1, "id": 1, "bbox": [1, 1, 4, 4], "tokens_positive": [[0, 5]]}
IMAGE = {"file_name": "7.jpg", "height": 8, "width": 12, "id": 1, "caption": "a dog runs", "original_id": 7}
FLICKR = {"sentence_id": 0, "original_img_id": 7, "tokens_positive_eval": [[[0, 5]]]}
SENTENCES = [{"raw": "A dog runs ."}]


def _identity(path: Path) -> str:
    return next(iter(file_digests([path]).values()))


def _captions(folder: Path) -> Path:
    (folder / "a.png").write_bytes(PNG)
    (folder / "b.png").write_bytes(PNG)
    rows = [{"file_name": f"{name}.png", "caption": "a dog"} for name in "ab"]
    path = folder / "captions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _read_captions(path: Path) -> Reading:
    (shard,) = shards_of((path.parent,))
    found = [(pair.key, pair.caption) for pair in pairs_of(shard, Counter())]
    # As they are written.
    json.dumps(found, ensure_ascii=False).encode()
    return Reading(found, shard.identity)


def _tar(folder: Path) -> Path:
    path = folder / "s.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("a.png", PNG), ("a.json", json.dumps(RECORD).encode()), ("a.txt", b"a dog in a field")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def _read_published(path: Path) -> Reading:
    (shard,) = shards_of((path if path.suffix == ".tar" else path.parent,))
    found = [record.as_json() for _, record in published_records(shard, PictureIndex(None), Counter())]
    # As they are written.
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    return Reading(found, shard.identity)


def _record(folder: Path) -> Path:
    (folder / "a.png").write_bytes(PNG)
    path = folder / "a.json"
    path.write_text(json.dumps(RECORD), encoding="utf-8")
    return path


def _documents(folder: Path) -> Path:
    _record(folder)
    rows = [
        {"text_list": ["a dog", "in a field"], "image_info": [{"image_name": "a.png", "matched_text_index": at}]}
        for at in range(2)
    ]
    path = folder / "mmc4.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _read_documents(path: Path) -> Reading:
    config = GritConfig(
        records=(path.parent,), output=path.parent / "none", init="x", documents=(path,), pictures=path.parent
    )
    found = read_material(config, 8)
    return Reading(found.documents, found.identity)


def _annotations(name: str, data: object) -> Callable[[Path], Path]:
    def seed(folder: Path) -> Path:
        path = folder / name
        path.write_text(json.dumps(data), encoding="utf-8")
        return path

    return seed


def _read_with(reader: Callable[[Path], ItemSet]) -> Callable[[Path], Reading]:
    return lambda path: Reading(reader(path), _identity(path))


def _answers(folder: Path) -> Path:
    rows = [{"answers_of": {"model": "m"}}, {"id": "1", "boxes": [[0.1, 0.1, 0.5, 0.5]]}, {"id": 2, "text": "a dog"}]
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _read_answers(path: Path) -> Reading:
    found, head = read_answers(path)
    json.dumps([(name, answer.text) for name, answer in found.items()], ensure_ascii=False).encode()
    return Reading((found, head), _identity(path))


_FLICKR = {"images": [IMAGE | FLICKR], "annotations": [ANNOTATION]}
_EXPRESSIONS = {"images": [IMAGE | {"dataset_name": "refcoco"}], "annotations": [ANNOTATION]}
_KARPATHY = {"images": [{"filename": "7.jpg", "split": "test", "sentences": SENTENCES}]}
_VQA = {"data_subtype": "val2014", "questions": [{"image_id": 7, "question": "What is it?", "question_id": 70}]}

TARGETS = [
    Target("grit-captions", _captions, _read_captions, (CommandError,), LINES),
    Target("grit-record", _record, _read_published, (CommandError,), JSON_EDITS),
    Target("grit-tar", _tar, _read_published, (CommandError,), (bytes_edits,)),
    Target("grit-documents", _documents, _read_documents, (CommandError,), LINES),
    Target("flickr-phrases", _annotations("x_val.json", _FLICKR), _read_with(read_flickr), (ResultsError,), JSON_EDITS),
    Target(
        "expressions",
        _annotations("x_val.json", _EXPRESSIONS),
        _read_with(read_expressions),
        (ResultsError,),
        JSON_EDITS,
    ),
    Target("captions", _annotations("x.json", _KARPATHY), _read_with(read_captions), (ResultsError,), JSON_EDITS),
    Target("vqa-questions", _annotations("x.json", _VQA), _read_with(read_vqa), (ResultsError,), JSON_EDITS),
    Target("pointing-answers", _answers, _read_answers, (ResultsError,), LINES),
]
