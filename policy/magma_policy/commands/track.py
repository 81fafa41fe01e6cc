"""`magma-track demos/pictures video.mp4 --output traces`: marks and traces of demonstration sets and videos by a point
tracker, and how well they agree with the marks that a simulator knows.

    OUT/track.json                   the settings; the same command continues an interrupted run
    OUT/NAME/traces/<episode>.npz    marks and traces (`trace_files.py`); NAME is the set's or the video's
    OUT/NAME/compared/<episode>.npy  demonstration sets: tracked marks against known ones (`mark_agreement.py`)
    OUT/NAME/report.json             counts, agreement
    OUT/NAME/drawn/*.png             images with marks and traces, if asked for
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import tyro
from tqdm import tqdm

from magma_contracts.demonstrations import MARKS
from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import check_folder
from magma_policy.commands.options import run_command
from magma_policy.demonstrations.episode_file import DemonstrationError, fingerprint
from magma_policy.demonstrations.sources import open_set
from magma_policy.errors import CommandError
from magma_policy.files.image_files import write_image
from magma_policy.files.json_files import read_object
from magma_policy.files.stored_settings import differences
from magma_policy.files.video_files import read_video
from magma_policy.marks.agreement import COMPARISON, HORIZONS, compare, figures, summarise, table
from magma_policy.marks.clip_marks import ClipMarks, MarkOptions, clip_marks, clips
from magma_policy.marks.drawing import draw_traces, marked_image
from magma_policy.marks.trace_files import TraceFileError, TrackedVideo, read_traces, write_traces
from magma_policy.marks.tracking import CoTracker, LucasKanadeTracker, PointTracker, TrackerError
from magma_policy_client.content import file_digests

SETTINGS = "track.json"


@dataclass(frozen=True)
class TrackConfig:
    """Make marks and traces of videos with a point tracker; with demonstration sets, compare them with known marks."""

    inputs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SET_OR_VIDEO", help_behavior_hint="(required)")
    ]
    """Folders of magma-demos, and video files."""
    output: Path
    """Folder to write to; what is already there is kept."""
    tracker: Literal["lucas-kanade", "cotracker"] = "lucas-kanade"
    """Lucas-Kanade needs nothing more; CoTracker its own package and --weights."""
    weights: Path | None = None
    """CoTracker's weights (scaled_offline.pth); never downloaded."""
    device: str = "cpu"
    """Where CoTracker runs: cpu, cuda, cuda:1, …"""
    clip_every: int = 8
    """A clip begins at every so many frames."""
    compare_every: int = 4
    """Known marks are followed from every so many frames on; 0 compares nothing."""
    episodes: int = 0
    """Only so many episodes of each set, evenly spaced; 0 = all."""
    frame_step: int = 1
    """Videos: take the image that is shown at every so many beats of the video's rate (6 makes 5 Hz of 30, also where
    the rate varies); 1 = every stored image."""
    instruction: str = ""
    """Videos: what is being done in them."""
    draw: int = 0
    """Draw the marks and traces of the first so many clips of each input."""
    seed: int = 0
    """Of the choice of marks."""
    lucas_kanade: LucasKanadeTracker = field(default_factory=LucasKanadeTracker)
    """the tracker's own settings"""
    marks: MarkOptions = field(default_factory=MarkOptions)
    """how marks are chosen"""

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ConfigError("name a demonstration set or a video file")
        for name, low in (
            ("clip_every", 1), ("compare_every", 0), ("episodes", 0), ("frame_step", 1), ("draw", 0), ("seed", 0),
        ):  # fmt: skip
            if getattr(self, name) < low:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least {low}, got {getattr(self, name)}")
        if (self.tracker == "cotracker") != (self.weights is not None):
            raise ConfigError("--weights belongs to --tracker cotracker, which needs it")
        names = [_name(path) for path in self.inputs]
        if len(set(names)) < len(names):
            raise ConfigError(f"two inputs share a name among {', '.join(names)}; give them other outputs")


def main() -> None:
    """Entry point."""
    sys.exit(run_command("magma-track", lambda: track(tyro.cli(TrackConfig, prog="magma-track"))))


def track(config: TrackConfig) -> int:
    """Tracks every input. Raises CommandError."""
    # Images are small: threads would wait for each other longer than they work.
    cv2.setNumThreads(1)
    for path in config.inputs:
        if not path.exists():
            raise CommandError(f"{path}: no such demonstration set or video file")
    try:
        tracker: PointTracker = (
            CoTracker(config.weights, config.device) if config.weights is not None else config.lucas_kanade
        )
        keep_settings(config)
        for path in config.inputs:
            folder = config.output / _name(path)
            report = _track_set(config, tracker, path, folder) if path.is_dir() else _track_video(config, tracker, path)
            (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except (TrackerError, DemonstrationError) as error:
        raise CommandError(str(error)) from error
    return 0


def _name(path: Path) -> str:
    return path.resolve().name if path.is_dir() else path.stem


def keep_settings(config: TrackConfig) -> None:
    """CommandError when the output belongs to other settings; `draw` and `inputs` may differ."""
    mine = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    for name in ("output", "inputs", "draw", "device"):
        del mine[name]
    check_folder(config.output, "--output")
    path = config.output / SETTINGS
    if path.is_file():
        try:
            different = differences(read_object(path), mine)
        except ConfigError as error:
            raise CommandError(f"{error}; choose another --output, or delete it") from error
        if different:
            raise CommandError(f"{path} is of a run with other settings ({different}); choose another --output")
    config.output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(mine, indent=2) + "\n", encoding="utf-8")


def _track_set(config: TrackConfig, tracker: PointTracker, directory: Path, folder: Path) -> dict[str, Any]:
    opened = open_set(directory)
    card, episodes = opened.card, opened.episodes
    if 0 < config.episodes < len(episodes):
        places = np.linspace(0, len(episodes) - 1, config.episodes).round().astype(int)
        episodes = tuple(episodes[place] for place in places)
    (folder / "traces").mkdir(parents=True, exist_ok=True)
    (folder / "compared").mkdir(exist_ok=True)
    tracked, rows = [], [np.zeros(0, dtype=COMPARISON)]
    for source in tqdm(episodes, desc=directory.name, unit="episode", mininterval=2.0):
        name = source.name.removesuffix(".npz")
        target, compared = folder / "traces" / f"{name}.npz", folder / "compared" / f"{name}.npy"
        # The traces are written last: an episode that has them is done.
        # An episode is known by its file, or by its arrays where it shares one.
        if source.file is not None:
            data, content = None, file_digests([source.file])[source.file]
        else:
            data = source.read()
            content = fingerprint(data).hex()
        known = _done(target, content, source.where)
        if known is None or (config.compare_every and not compared.is_file()):
            data = source.read() if data is None else data
            if "frames" not in data:
                raise CommandError(f"{source.where} has no frames; magma-demos --images records them")
            if config.compare_every:
                np.save(compared, compare(data["frames"], data["marks"], tracker, config.compare_every))
            video = _track_frames(config, tracker, data["frames"], name, folder, str(data["instruction"]))
            write_traces(target, replace(video, source=content))
            known = read_traces(target)
        tracked.append(known)
        if config.compare_every:
            rows.append(_read_compared(compared))
    report = {"robot": card.robot, "episodes": len(episodes), **_counts(tracked)}
    _tell(directory.name, report)
    if config.compare_every:
        every = np.concatenate(rows)
        summary = summarise(every, MARKS)
        print("\n".join(table(summary)), flush=True)
        over_all = {str(after): figures(every[every["frames"] == after]) for after in HORIZONS}
        size = [card.image_height, card.image_width]
        report |= {"picture_px": size, "agreement": summary, "agreement_all_marks": over_all}
    return report


def _track_video(config: TrackConfig, tracker: PointTracker, path: Path) -> dict[str, Any]:
    folder = config.output / path.stem
    target = folder / "traces" / f"{path.stem}.npz"
    target.parent.mkdir(parents=True, exist_ok=True)
    content = file_digests([path])[path]
    known = _done(target, content, path)
    if known is None:
        frames = tqdm(read_video(path, config.frame_step), desc=path.name, unit="frame", mininterval=2.0)
        video = _track_frames(config, tracker, frames, path.stem, folder, config.instruction)
        write_traces(target, replace(video, source=content))
        known = read_traces(target)
    report = {"content": content[:12], **_counts([known])}
    _tell(path.name, report)
    return report


def _done(target: Path, content: str, source: Path | str) -> TrackedVideo | None:
    """The traces that are there for a file of this content; None when it has to be tracked, or tracked again because
    the traces do not say of what they are. CommandError when they are of another file of the same name, or damaged."""
    if not target.is_file():
        return None
    try:
        known = read_traces(target)
    except TraceFileError as error:
        raise CommandError(f"{error}; delete it to have {source} tracked again") from error
    if known.source and known.source != content:
        raise CommandError(
            f"{target} has the traces of another file of this name (content {known.source[:12]}); {source} has content "
            f"{content[:12]}: choose another --output"
        )
    return known if known.source else None


def _read_compared(path: Path) -> np.ndarray:
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise CommandError(f"{path} cannot be read ({error}); delete it to have it made again") from error
    if rows.dtype != COMPARISON or rows.ndim != 1:
        raise CommandError(f"{path} holds no comparison of marks; delete it to have it made again")
    return rows


def _track_frames(
    config: TrackConfig,
    tracker: PointTracker,
    frames: Iterable[np.ndarray],
    name: str,
    folder: Path,
    instruction: str,
) -> TrackedVideo:
    found: dict[int, ClipMarks] = {}
    size = (0, 0)
    for start, clip in clips(_of_one_size(frames, name), config.marks.horizon + 1, config.clip_every):
        size = clip.shape[1:3]
        # The seed is the clip's own, so that the same clip gets the same marks in any run.
        found[start] = clip_marks(clip, tracker, config.marks, [config.seed, zlib.crc32(name.encode()), start])
        _draw(config, clip[0], found[start], folder / "drawn", f"{name}-{start}")
    return TrackedVideo(size, instruction, found)


def _of_one_size(frames: Iterable[np.ndarray], name: str) -> Iterator[np.ndarray]:
    shape = None
    for frame in frames:
        shape = shape or frame.shape
        if frame.shape != shape:
            raise CommandError(f"{name}: its pictures change from {shape} to {frame.shape}; cut it there")
        yield frame


def _draw(config: TrackConfig, frame: np.ndarray, marks: ClipMarks, folder: Path, name: str) -> None:
    if len(list(folder.glob("*.png"))) >= config.draw:
        return
    folder.mkdir(exist_ok=True, parents=True)
    height, width = frame.shape[:2]
    large = 512 / min(height, 512)
    size = (round(width * large), round(height * large))
    picture = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
    picture = draw_traces(picture, marks.traces().paths(*size), numbers=False)
    write_image(folder / f"{name}.png", marked_image(picture, marks))


def _counts(videos: list[TrackedVideo]) -> dict[str, Any]:
    every = [clip for video in videos for clip in video.clips.values()]
    return {
        "traces": hashlib.sha256("".join(video.identity for video in videos).encode()).hexdigest()[:12],
        "clips": len(every),
        "clips_with_camera_motion": sum(clip.camera_moved for clip in every),
        "clips_with_moving_marks": sum(bool(clip.moving.any()) for clip in every),
        "moving_marks": sum(int(clip.moving.sum()) for clip in every),
        "static_marks": sum(int((~clip.moving).sum()) for clip in every),
    }


def _tell(name: str, report: dict[str, Any]) -> None:
    print(f"{name}: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in report.items()), flush=True)


if __name__ == "__main__":
    main()
