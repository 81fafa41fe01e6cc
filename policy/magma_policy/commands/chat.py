"""`magma-chat picture.png "question"`: ask a checkpoint about images, by hand.

magma-chat kitchen.jpg "What is in the sink?"
magma-chat before.png after.png "What changed?"
magma-chat film.mp4 "What happens?"
magma-chat screen.png "open the settings" --ask click --boxes boxes.json --draw marked.png
magma-chat robot.png "push the chips bag to the left" --ask trace --draw trace.png
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro

from magma_contracts.errors import ConfigError
from magma_contracts.text import printable
from magma_policy.commands.options import LoadOptions, run_command
from magma_policy.errors import CommandError
from magma_policy.files.image_files import array_hash, check_image_file, described, read_image, resize, write_image
from magma_policy.files.json_files import read_text
from magma_policy.marks import set_of_mark, trace_of_mark
from magma_policy.marks.drawing import draw_box_marks, draw_point_marks, draw_traces

if TYPE_CHECKING:
    from magma_policy.families.interface import GenerationSettings, LoadedPolicy, Message

Ask = Literal["free", "brief", "click", "marks", "trace"]
PUBLISHED = "microsoft/Magma-8B"
VIDEO_SUFFIXES = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".ts",
    ".wmv",
    ".flv",
    ".ogv",
    ".3gp",
)
VIDEO_FRAMES, MAX_VIDEO_FRAMES = 28, 32
TILE_TOKENS, TRAINED_LENGTH = 272, 8192
"""Of Magma-8B: what one image of a video takes, and what its language model was trained to read."""


@dataclass(frozen=True)
class ChatConfig(LoadOptions):
    """Ask Magma about images or videos, or without any. The answer is printed as it comes; Ctrl-C ends it.

    The last word is the question, those before it are files.
    """

    words: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[PICTURE|VIDEO …] QUESTION", help_behavior_hint="(required)"),
    ] = ()
    """Image or video files, then the question. With a video all images are read small, as one tile each."""
    checkpoint: str = PUBLISHED
    """Folder of a checkpoint, or owner/name on the Hugging Face Hub (fetched once; Magma-8B is 18 GB)."""
    ask: Ask = "free"
    """free: the words as they are. brief: for a short answer. click: which numbered box of a screenshot to click to do
    this. marks: where the numbers on the image are. trace: how marks would move while the robot does this."""
    boxes: Path | None = None
    """With --ask click: JSON file with [[x1, y1, x2, y2], ...] in pixels, drawn and numbered from 0."""
    draw: Path | None = None
    """With --ask click, marks or trace: where to save the image with the answer drawn into it."""
    frames: int = VIDEO_FRAMES
    """Images taken of each video, evenly over its time. Magma-8B spends 272 tokens on each and was trained to read 8192
    in all: 28 leave room for the question, the 32 of published evaluations do not."""
    max_new_tokens: int | None = None
    """Longest answer; 128, and 1024 for traces."""
    temperature: float | None = None
    """0 = always the most likely word; 0, and 0.3 for traces."""
    seed: int | None = None
    """With a temperature: the same seed gives the same answer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        drawing = self.ask in ("click", "marks", "trace")
        if self.draw is not None and not drawing:
            raise ConfigError("--draw needs --ask click, marks or trace: other answers name no places")
        if not 1 <= self.frames <= MAX_VIDEO_FRAMES:
            raise ConfigError(f"--frames must be from 1 to {MAX_VIDEO_FRAMES}, got {self.frames}")
        if self.boxes is not None and self.ask != "click":
            raise ConfigError("--boxes is for --ask click")
        if drawing and len(self.words) not in ((1, 2) if self.ask == "marks" else (2,)):
            raise ConfigError(f"--ask {self.ask} takes one picture{'' if self.ask == 'marks' else ' and one sentence'}")
        if not self.words:
            raise ConfigError('what is the question? magma-chat picture.png "What do you see?"')


def main() -> None:
    """Entry point."""
    sys.exit(run_command("magma-chat", lambda: chat(tyro.cli(ChatConfig))))


def chat(config: ChatConfig) -> int:
    """Asks and prints. Raises CommandError."""
    if config.draw is not None:
        check_image_file(config.draw, "--draw")
    names, question = _split(config)
    films = [name for name in names if is_video(name)]
    if films and config.ask not in ("free", "brief"):
        raise CommandError(f"--ask {config.ask} is about a picture, and {films[0]} is a video")
    pictures = [picture for name in names for picture in _read(name, config.frames)]
    boxes = read_boxes(config.boxes) if config.boxes is not None else np.zeros((0, 4))
    if config.boxes is not None:
        print(f"{config.boxes}: {len(boxes)} boxes, contents {array_hash(boxes)}", file=sys.stderr)
    settings = _settings(config)
    print(f"loading {config.checkpoint} …", file=sys.stderr, flush=True)
    policy = config.load_text_model(config.checkpoint)
    if policy.taught_to_act:
        print(
            f"{config.checkpoint} was taught to act; it knows a few questions about its own scenes, and those poorly",
            file=sys.stderr,
        )
    from magma_policy.families.interface import Message

    shown = list(pictures)
    if config.ask == "click":
        shown = [draw_box_marks(pictures[0], boxes)]
    elif config.ask == "trace":
        # As the published demonstration does; positions in the answer are relative to the image.
        shown = [resize(pictures[0], trace_of_mark.GRID, trace_of_mark.GRID)]
    message = Message(_question(config.ask, question), shown, max_num_crops=1 if films else None)
    answer = _print_answer(policy, message, settings)
    if config.ask in ("click", "marks", "trace"):
        drawn = _show(config.ask, answer, pictures[0], shown[0], boxes)
        if config.draw is not None:
            write_image(config.draw, drawn)
            print(f"drawn: {config.draw}", file=sys.stderr)
    return 0


def read_boxes(path: Path) -> np.ndarray:
    """Boxes (N, 4), x1 y1 x2 y2 in pixels, of a JSON file. Raises CommandError."""
    try:
        boxes = np.array(json.loads(read_text(Path(path))), dtype=np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise CommandError(f"--boxes {path} cannot be read as [[x1, y1, x2, y2], ...]: {printable(error)}") from error
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise CommandError(f"--boxes {path} must hold [[x1, y1, x2, y2], ...], got an array of shape {boxes.shape}")
    return boxes


def _split(config: ChatConfig) -> tuple[list[str], str]:
    words = list(config.words)
    if config.ask == "marks" and len(words) == 1:
        return words, ""
    names, question = words[:-1], words[-1]
    if Path(question).expanduser().is_file():
        raise CommandError(f'{question} is a file: what is the question about it? magma-chat {question} "…"')
    if not names and Path(question).suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp", *VIDEO_SUFFIXES):
        raise CommandError(f'{question}: no such file (and what is the question? magma-chat {question} "…")')
    if not question.strip():
        raise CommandError("the question is empty")
    return names, question


def is_video(name: str) -> bool:
    """Whether a file is read as a video, by its name; a GIF is a picture."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def _read(name: str, frames: int) -> list[np.ndarray]:
    """The images of a file, described on stderr."""
    if not is_video(name):
        picture = read_image(Path(name))
        print(f"{name}: {described(picture)}", file=sys.stderr)
        return [picture]
    from magma_policy.files.video_files import sample_video

    film = sample_video(Path(name).expanduser(), frames)
    pictures = [picture for _, picture in film]
    many = f"{len(film)} images from 0 to {film[-1][0]:.2f} s"
    print(f"{name}: {many}, contents {array_hash(np.stack(pictures))}", file=sys.stderr)
    if len(film) > VIDEO_FRAMES:
        tokens = len(film) * TILE_TOKENS
        print(
            f"{len(film)} images are {tokens} tokens for Magma-8B, which was trained to read {TRAINED_LENGTH} in all, "
            f"the question and its answer included; --frames {VIDEO_FRAMES} leaves room for them",
            file=sys.stderr,
        )
    return pictures


def _settings(config: ChatConfig) -> GenerationSettings:
    from magma_policy.errors import GenerationError
    from magma_policy.families.interface import GenerationSettings

    trace = config.ask == "trace"
    tokens = (
        config.max_new_tokens if config.max_new_tokens is not None else trace_of_mark.MAX_NEW_TOKENS if trace else 128
    )
    warmth = config.temperature if config.temperature is not None else trace_of_mark.TEMPERATURE if trace else 0.0
    try:
        return GenerationSettings(max_new_tokens=tokens, temperature=warmth, seed=config.seed)
    except GenerationError as error:
        raise CommandError(str(error)) from error


def _question(ask: Ask, words: str) -> str:
    if ask == "brief":
        return set_of_mark.brief_question(words)
    if ask == "click":
        return set_of_mark.ui_question(words)
    if ask == "marks":
        return set_of_mark.locate_marks_question()
    return trace_of_mark.trace_question(words) if ask == "trace" else words


def _print_answer(policy: LoadedPolicy, message: Message, settings: GenerationSettings) -> str:
    from magma_policy.errors import GenerationError, InstructionError, ObservationError

    pieces = []
    try:
        if not hasattr(policy, "pieces"):
            raise CommandError("this checkpoint answers no questions")
        for piece in policy.pieces(message, settings):
            pieces.append(piece.text)
            print(piece.text, end="", flush=True)
    except (GenerationError, ObservationError, InstructionError) as error:
        fewer = "; a video gives fewer with --frames" if message.max_num_crops is not None else ""
        raise CommandError(f"{error}{fewer}") from error
    print(flush=True)
    if not "".join(pieces).strip():
        print("(the model said nothing)", file=sys.stderr)
    return "".join(pieces)


def _show(ask: Ask, answer: str, picture: np.ndarray, shown: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Says on stderr what was understood, and returns the image with it drawn in."""
    height, width = picture.shape[:2]
    if ask == "click":
        target = set_of_mark.parse_ui_answer(answer).target(boxes, width, height)
        print(f"click: {f'{target[0]:.0f}, {target[1]:.0f} px' if target else 'no place was named'}", file=sys.stderr)
        return draw_point_marks(shown, {0: target}) if target else shown
    if ask == "marks":
        places = set_of_mark.parse_mark_positions(answer)
        scale = (width / set_of_mark.GRID, height / set_of_mark.GRID)
        print(f"marks: {len(places)}", file=sys.stderr)
        return draw_point_marks(picture, {mark: (x * scale[0], y * scale[1]) for mark, (x, y) in places.items()})
    paths = trace_of_mark.parse_traces(answer).paths(width, height)
    print(f"traces: {', '.join(f'mark {m}: {len(p)} points' for m, p in paths.items()) or 'none'}", file=sys.stderr)
    return draw_traces(picture, paths)


if __name__ == "__main__":
    main()
