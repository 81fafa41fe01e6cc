"""`magma-eval-grounding SET FILE …`: published benchmarks of models that point, asked, scored and put beside what
others report.

magma-eval-grounding flickr30k final_flickr_separateGT_test.json --entities flickr30k_entities \\
    --pictures flickr30k-images --policy microsoft/kosmos-2-patch14-224 --out answers.jsonl
magma-eval-grounding refcoco finetune_refcoco_val.json finetune_refcoco_testA.json --answers answers.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from tqdm import tqdm

from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import OutputError, check_file, explained
from magma_contracts.interruption import ends_on_interrupt
from magma_contracts.text import escaped
from magma_eval.grounding.annotations import read_captions, read_expressions, read_flickr, read_names, read_vqa
from magma_eval.grounding.answers import AnswerFile, read_answers
from magma_eval.grounding.caption_metrics import check_installed
from magma_eval.grounding.files import AnnotationError
from magma_eval.grounding.items import (
    Answer,
    Answers,
    CaptionItem,
    Item,
    ItemSet,
    NameItem,
    PlaceItem,
    QuestionItem,
)
from magma_eval.grounding.models import Pointer, Shown, load
from magma_eval.grounding.pictures import Pictures
from magma_eval.grounding.report import as_numbers, as_text
from magma_eval.grounding.summary import SetSummary, summarise
from magma_eval.report.text_tables import terminal_width
from magma_eval.results.episode_result import ResultsError
from magma_eval.typed import shown
from magma_policy_client.content import digest_of, file_digests

MOST_SHOTS = 8
Benchmark = Literal["flickr30k", "refcoco", "names", "captions", "vqav2"]


@dataclass(frozen=True)
class EvalGroundingConfig:
    """Score a model that points on published benchmarks. Give the same command again to go on after an interruption."""

    benchmark: Annotated[Benchmark, tyro.conf.Positional, tyro.conf.arg(metavar="SET")]
    """flickr30k: phrases of Flickr30k Entities. refcoco: expressions of RefCOCO, RefCOCO+ or RefCOCOg. names: the same
    files the other way round, boxes to words. captions: Flickr30k. vqav2: questions."""
    files: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE [FILE …]", help_behavior_hint="(required)")
    ]
    """Annotation files as they are published, each a set of its own: MDETR's JSON files for flickr30k, refcoco and
    names; Karpathy's dataset_flickr30k.json for captions. Of vqav2 the questions and, behind them, the annotations."""
    policy: str = ""
    """The model that is asked: folder of a checkpoint, owner/name on the Hugging Face Hub, or ws://host:port."""
    answers: Path | None = None
    """Answers that there are already instead: lines of {"id": …, "boxes": [[x1, y1, x2, y2], …]} in fractions of the
    picture, or {"id": …, "text": …}."""
    pictures: Path | None = None
    """Folder of the pictures."""
    out: Path | None = None
    """File that each answer is added to; what stands there is not asked again."""
    entities: Path | None = None
    """Of flickr30k: the authors' own folder (Sentences, Annotations), where the published protocol finds the truth."""
    split: str = "test"
    """Of captions: which of Karpathy's splits."""
    shots: int = 0
    """Of names: so many pictures with an object and its name are shown before each question (the paper: 0, 2, 4)."""
    demonstrations: Path | None = None
    """Of names: the annotation file that these are taken from, such as finetune_refcocog_train.json."""
    limit: int | None = None
    """Only the first so many questions of each file."""
    submission: Path | None = None
    """Of vqav2: write the answers as its server takes them (test-dev's truth is not published)."""
    json: bool = False
    """Print JSON."""
    decoding: Literal["free", "constrained"] = "free"
    """How a checkpoint answers with places. free: as it will, as in the paper; what is no box is wrong. constrained:
    only what is a box can be said."""
    device: Literal["auto", "cuda", "cpu", "mps"] = "auto"
    """Where a checkpoint runs; auto = the GPU when there is one."""

    def __post_init__(self) -> None:
        if bool(self.policy) == (self.answers is not None):
            raise ConfigError("give either --policy or --answers")
        if not self.files:
            raise ConfigError("give at least one annotation file")
        if self.policy and self.pictures is None:
            raise ConfigError("--policy needs --pictures, the folder of the pictures that are asked about")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit is at least 1, got {self.limit}")
        if not 0 <= self.shots <= MOST_SHOTS:
            raise ConfigError(f"--shots is from 0 to {MOST_SHOTS}, got {self.shots}")
        if bool(self.shots) != (self.demonstrations is not None) or (self.shots and self.benchmark != "names"):
            raise ConfigError("--shots and --demonstrations go together, with names alone")
        if self.benchmark == "vqav2" and len(self.files) > 2:
            raise ConfigError(f"vqav2 is one file of questions and one of annotations, got {len(self.files)} files")
        if self.submission is not None and self.benchmark != "vqav2":
            raise ConfigError("--submission is a file for vqav2's server")
        if self.out is not None and not self.policy:
            raise ConfigError("--out keeps a model's answers; it goes with --policy")


def main() -> None:
    """Entry point."""
    config = tyro.cli(EvalGroundingConfig, prog="magma-eval-grounding")
    try:
        with ends_on_interrupt("magma-eval-grounding"):
            sys.exit(evaluate(config))
    except BrokenPipeError:
        sys.exit(0)
    except (ResultsError, ConfigError, OutputError, ValueError, OSError) as error:
        sys.exit(escaped(f"magma-eval-grounding: {explained(error)}"))


def evaluate(config: EvalGroundingConfig) -> int:
    """Asks and judges; 0. Raises ResultsError, ConfigError."""
    for path, option in ((config.out, "--out"), (config.submission, "--submission")):
        if path is not None:
            check_file(path, option)
    sets = read_sets(config)
    if config.benchmark in ("names", "captions"):
        check_installed()
    if config.answers is not None:
        answers, who = given(config, config.answers, sets)
    else:
        model = load(config.policy, config.device, constrained=config.decoding == "constrained")
        who = f"{config.policy}, {model.protocol}"
        for path in (config.out, config.submission):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
        answers = ask(config, model, sets)
    if config.submission is not None:
        config.submission.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"question_id": int(item.id), "answer": answers[item.id].text} for one in sets for item in one.items
                if item.id in answers]  # fmt: skip
        config.submission.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        print(f"{len(rows)} answers for the server in {config.submission}", file=sys.stderr)
        if not all(isinstance(item, QuestionItem) and item.answers for one in sets for item in one.items):
            return 0
    summaries: list[SetSummary] = [summarise(one, _of(one, sets, answers)) for one in sets]
    if config.json:
        print(json.dumps(as_numbers(summaries, who), indent=1))
    else:
        print(escaped(as_text(summaries, who, terminal_width())))
    return 0


def read_sets(config: EvalGroundingConfig) -> list[ItemSet]:
    """The questions of all files. Raises AnnotationError."""
    if config.benchmark == "vqav2":
        found = [read_vqa(*config.files)]
    else:
        readers: dict[str, Callable[[Path], ItemSet]] = {
            "flickr30k": lambda path: read_flickr(path, config.entities),
            "refcoco": read_expressions,
            "names": read_names,
            "captions": lambda path: read_captions(path, config.split),
        }
        found = []
        for path in config.files:
            one = readers[config.benchmark](path)
            # Answers are told apart by set and split.
            if any((one.benchmark, one.split) == (other.benchmark, other.split) for other in found):
                raise AnnotationError(f"{path}: {one.benchmark} {one.split} was read already; give each set once")
            found.append(one)
    if config.limit is None:
        return found
    note = f"only the first {config.limit} questions"
    return [
        ItemSet(one.benchmark, one.split, one.items[: config.limit], (*one.notes, note))
        if len(one.items) > config.limit
        else one
        for one in found
    ]


def given(config: EvalGroundingConfig, path: Path, sets: list[ItemSet]) -> tuple[Answers, str]:
    """Answers that there are already, and whose they are. Raises ResultsError where they are answers to something
    else."""
    answers, head = read_answers(path)
    for name, wanted in (_questions_of(config) if head else {}).items():
        if head.get(name) != wanted:
            raise ResultsError(
                f"{path} holds answers to other questions: its {name} is {shown(head.get(name))}, not {shown(wanted)}"
            )
    keys = {_key(one, sets, item) for one in sets for item in one.items}
    unknown = next((name for name in answers if name not in keys), None)
    if unknown is not None and config.limit is None:
        raise ResultsError(f"{path}: {shown(unknown)} is no question of these files; their ids are such as {min(keys)}")
    whose = [str(head[name]) for name in ("model", "protocol") if head.get(name)]
    return answers, ", ".join([str(path), *whose])


def _questions_of(config: EvalGroundingConfig) -> dict[str, str]:
    """Which questions are asked, for the head of their answers."""
    # Whoever answers VQAv2 does not see its second file.
    files = config.files[:1] if config.benchmark == "vqav2" else config.files
    contents = file_digests(files).values()
    return {
        "set": config.benchmark,
        "files": digest_of({str(number): found for number, found in enumerate(contents)}),
        "split": config.split if config.benchmark == "captions" else "",
    }


def _of(one: ItemSet, sets: list[ItemSet], answers: Answers) -> Answers:
    """The answers to a set: by the item's id, with the set's name in front where there are several."""
    return (
        answers
        if len(sets) == 1
        else {item.id: answers[key] for item in one.items if (key := _key(one, sets, item)) in answers}
    )


def _key(one: ItemSet, sets: list[ItemSet], item: Item) -> str:
    return item.id if len(sets) == 1 else f"{one.benchmark} {one.split} {item.id}"


def ask(config: EvalGroundingConfig, model: Pointer, sets: list[ItemSet]) -> Answers:
    """A model's answers to all questions, kept as they come."""
    assert config.pictures is not None
    pictures = Pictures(config.pictures)
    shown, told = demonstrations(config, pictures)
    questions = [(_key(one, sets, item), item) for one in sets for item in one.items]
    if config.out is None:
        return {key: _ask(model, pictures, item, shown) for key, item in tqdm(questions, unit="question", disable=None)}
    examples = [*file_digests([config.demonstrations]).values()] if config.demonstrations else []
    head = {
        "model": model.identity,
        "protocol": model.protocol,
        **_questions_of(config),
        "demonstrations": [*examples, *told],
    }
    with AnswerFile(config.out, head) as kept:
        left = [(key, item) for key, item in questions if key not in kept.answers]
        for key, item in tqdm(
            left, unit="question", disable=None, initial=len(questions) - len(left), total=len(questions)
        ):
            kept.add(key, _ask(model, pictures, item, shown))
        return dict(kept.answers)


def _ask(model: Pointer, pictures: Pictures, item: Item, shown: list[Shown]) -> Answer:
    image = pictures.read(item.picture)
    if isinstance(item, PlaceItem):
        height, width = image.shape[:2]
        if (width, height) != item.size:
            raise ResultsError(
                f"{pictures.find(item.picture)} has {width} x {height} pixels, the annotations are of one of "
                f"{item.size[0]} x {item.size[1]}: another copy of the picture"
            )
        return model.place(image, item.phrase, item.before)
    if isinstance(item, NameItem):
        return model.name(image, item.box, shown)
    if isinstance(item, CaptionItem):
        return model.caption(image)
    assert isinstance(item, QuestionItem)
    return model.answer(image, item.question)


def demonstrations(config: EvalGroundingConfig, pictures: Pictures) -> tuple[list[Shown], list[str]]:
    """Objects with their names, always the same ones, each of another picture; and their ids."""
    if config.demonstrations is None:
        return [], []
    items = [item for item in read_names(config.demonstrations).items if isinstance(item, NameItem)]
    chosen: dict[str, NameItem] = {}
    for index in np.random.default_rng(0).permutation(len(items)).tolist():
        chosen.setdefault(items[index].picture, items[index])
        if len(chosen) == config.shots:
            break
    if len(chosen) < config.shots:
        raise ResultsError(f"{config.demonstrations} is of {len(chosen)} pictures, too few for --shots {config.shots}")
    shown = [Shown(pictures.read(item.picture), item.box, item.references[0]) for item in chosen.values()]
    return shown, [item.id for item in chosen.values()]


if __name__ == "__main__":
    main()
