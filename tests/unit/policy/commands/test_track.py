"""magma-track on small sets and videos, the agreement with known marks, and text samples of tracked marks."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from magma_contracts.errors import ConfigError
from magma_policy.commands import track
from magma_policy.commands.options import run_command
from magma_policy.commands.track import TrackConfig
from magma_policy.errors import CommandError
from magma_policy.files.video_files import read_video
from magma_policy.marks.agreement import COMPARISON, compare, figures, summarise, table
from magma_policy.marks.clip_marks import ClipMarks, MarkOptions
from magma_policy.marks.drawing import marked_image
from magma_policy.marks.set_of_mark import parse_mark_positions
from magma_policy.marks.trace_files import read_traces
from magma_policy.marks.trace_of_mark import parse_traces
from magma_policy.marks.tracking import PointTracks
from magma_policy.training.recipes.robot_actions.tracked_samples import marks_sample, traces_sample

SIDE = 128


def moving_square(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A textured square that moves 2 px a frame to the right: frames (T, H, W, 3), its centre (T, 2)."""
    noise = np.random.default_rng(seed).uniform(0, 255, (SIDE, 2 * SIDE, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    picture = ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).astype(np.uint8)
    film = np.repeat(picture[None, :, :SIDE], frames, axis=0)
    for t in range(frames):
        film[t, 30:86, 10 + 2 * t : 66 + 2 * t] = picture[:56, SIDE : SIDE + 56]
    return film, np.array([[38.0 + 2 * t, 58.0] for t in range(frames)])


@pytest.fixture
def demonstrations(tmp_path):
    """Two episodes, whose marks are the square's centre, a still point, one that leaves the square by 1 px a frame, and
    one that nobody knows."""
    folder = tmp_path / "square"
    (folder / "episodes").mkdir(parents=True)
    card = {
        "robot": "slider",
        "camera_intrinsics": np.eye(3).tolist(),
        "camera_extrinsics_base_to_optical": np.eye(4).tolist(),
        "image_size": SIDE,
        "table_height_m": 0.0,
        "step_period_s": 0.2,
    }
    (folder / "card.json").write_text(json.dumps(card))
    for seed, steps in ((0, 20), (1, 12)):
        frames, centre = moving_square(steps, seed)
        still = np.tile([64.0, 110.0], (steps, 1))
        away = np.arange(steps)[:, None] * [0.0, 1.0]
        arrays = {
            "frames": frames,
            "marks": np.stack([centre, still, centre + away, centre * np.nan], axis=1),
            "proprioception": np.zeros((steps, 16)),
            "actions": np.zeros((steps, 7)),
            "instruction": np.array("push the square"),
        }
        np.savez(folder / "episodes" / f"square-{seed}.npz", **arrays)
    return folder


def config(*inputs, output, **more):
    options = MarkOptions(horizon=8, grid=12, moving_marks=(5, 5))
    return TrackConfig(inputs=inputs, output=output, marks=options, **{"clip_every": 4, **more})


def test_a_set_gives_traces_and_agreement(demonstrations, tmp_path, capsys):
    out = tmp_path / "out"
    assert track.track(config(demonstrations, output=out, draw=2)) == 0
    report = json.loads((out / "square" / "report.json").read_text())
    assert report["robot"] == "slider" and report["episodes"] == 2 and report["clips"] == 4
    assert report["clips_with_moving_marks"] == 4 and report["clips_with_camera_motion"] == 0
    named = ("source_centre", "source_tip", "target_rest_point")
    centre, still, wrong = (report["agreement"][name]["8"] for name in named)
    assert centre["moved"]["within_2px"] == 1.0 and centre["moved"]["standing_still_within_2px"] == 0.0
    assert centre["all"]["lost"] == 0.0 and centre["all"]["median_px"] < 0.5
    assert still["all"]["within_2px"] == 1.0 and still["moved"]["starts"] == 0 and still["moved"]["lost"] is None
    assert wrong["all"]["within_2px"] == 0.0 and wrong["all"]["median_px"] == pytest.approx(8.0, abs=0.5)
    assert "gripper" not in report["agreement"], "a mark that is nowhere known is not compared"
    said = capsys.readouterr().out
    assert "square: robot slider" in said and "source_centre" in said
    video = read_traces(out / "square" / "traces" / "square-0.npz")
    assert video.instruction == "push the square" and list(video.clips) == [0, 4, 8]
    assert len(list((out / "square" / "drawn").glob("*.png"))) == 2


def test_it_continues_where_it_was_interrupted(demonstrations, tmp_path, monkeypatch):
    out = tmp_path / "out"
    track.track(config(demonstrations, output=out))
    report = (out / "square" / "report.json").read_text()
    gone = out / "square" / "traces" / "square-1.npz"
    before = gone.read_bytes()
    gone.unlink()
    made = []
    write = track.write_traces
    monkeypatch.setattr(track, "write_traces", lambda path, video: (made.append(path), write(path, video)))
    track.track(config(demonstrations, output=out))
    assert made == [gone] and gone.read_bytes() == before
    assert (out / "square" / "report.json").read_text() == report
    with pytest.raises(CommandError, match=r"other settings .*seed"):
        track.track(config(demonstrations, output=out, seed=1))


def test_a_video_gives_the_same_marks_as_its_pictures_shrunk_or_not(tmp_path):
    frames, _ = moving_square(24)
    path = tmp_path / "square.avi"
    # Lossless, so that nothing but the reading is tested.
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 30.0, (SIDE, SIDE))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no FFV1")
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    np.testing.assert_allclose(np.stack(list(read_video(path))).astype(int), frames, atol=3)
    assert len(list(read_video(path, 5))) == 5
    assert next(read_video(path, max_height=48)).shape == (48, 48, 3)
    out = tmp_path / "out"
    track.track(config(path, output=out, instruction="slide", frame_step=2))
    video = read_traces(out / "square" / "traces" / "square.npz")
    assert list(video.clips) == [0] and video.instruction == "slide" and video.frame_size == (SIDE, SIDE)
    clip = video.clips[0]
    well_inside = (np.abs(clip.points[0] * SIDE / 256 - [38.0, 58.0]) < 26).all(axis=1)
    assert clip.moving[well_inside].all() and well_inside.any()
    steps = np.diff(clip.points[:, well_inside], axis=0)
    np.testing.assert_allclose(np.median(steps, axis=(0, 1)), [4 * 256 / SIDE, 0], atol=0.7)


def test_what_cannot_be_tracked_is_said(demonstrations, tmp_path, capsys):
    out = tmp_path / "out"
    text = tmp_path / "notes.txt"
    text.write_text("no video")
    (tmp_path / "empty").mkdir()
    for wrong, words in (
        (config(tmp_path / "missing.mp4", output=out), "no such demonstration set or video file"),
        (config(text, output=out), "cannot be read as a video"),
        (config(tmp_path / "empty", output=out), "no such data card"),
    ):
        assert run_command("magma-track", lambda wrong=wrong: track.track(wrong)) == 1
        assert words in capsys.readouterr().err
    with pytest.raises(ConfigError, match="share a name"):
        config(demonstrations, demonstrations, output=out)
    with pytest.raises(ConfigError, match="--weights"):
        config(demonstrations, output=out, tracker="cotracker")
    with pytest.raises(ConfigError, match="--clip-every"):
        config(demonstrations, output=out, clip_every=0)


class Slipping:
    """A tracker that says every point goes 1 px a frame to the right, and loses the first point after 4 frames."""

    def track(self, frames, starts):
        points = np.asarray(starts)[None] + np.arange(len(frames))[:, None, None] * [1.0, 0.0]
        visible = np.ones(points.shape[:2], dtype=bool)
        visible[5:, 0] = False
        return PointTracks(points.astype(np.float32), visible)


def test_figures_of_agreement():
    frames = np.zeros((18, 50, 50, 3), np.uint8)
    marks = np.tile(np.array([[10.0, 10.0], [49.0, 10.0], [-1.0, 5.0]]), (18, 1, 1))
    marks[9:, 1] = np.nan
    rows = compare(frames, marks, Slipping(), every=17)
    assert rows.dtype == COMPARISON
    assert sorted(zip(rows["mark"].tolist(), rows["frames"].tolist(), strict=True)) == [
        *((0, 1), (0, 4), (0, 8), (0, 16)), *((1, 1), (1, 4), (1, 8)),
    ]  # fmt: skip
    summary = summarise(rows, ["first"])
    assert list(summary) == ["first", "mark 1"]
    assert summary["first"]["4"]["all"] == {
        "starts": 1, "lost": 0.0, "median_px": 4.0, "p90_px": 4.0, "within_2px": 0.0, "standing_still_within_2px": 1.0,
    }  # fmt: skip
    assert summary["first"]["8"]["all"]["lost"] == 1.0 and summary["first"]["8"]["all"]["median_px"] is None
    assert len(table(summary)) == 1 + len(rows)
    assert figures(rows[:0])["starts"] == 0
    assert len(compare(frames[:1], marks[:1], Slipping(), every=1)) == 0


def test_text_samples_of_tracked_marks():
    points = np.zeros((10, 3, 2), dtype=np.float32)
    points[:, 0] = [40, 50] + np.arange(10)[:, None] * np.array([6.0, 0.0])
    points[:, 1], points[:, 2] = [100, 100], [200, 10]
    visible = np.ones((10, 3), dtype=bool)
    clip = ClipMarks(np.array([1, 2, 3]), points, visible, np.array([True, False, False]), False)
    marks = marks_sample(clip)
    assert marks is not None and parse_mark_positions(marks.answer) == clip.starts()
    sample = traces_sample(clip, "push the square")
    assert sample is not None and "marks [1, 2, 3]" in sample.question
    assert "with speed 6 for the next 8 steps" in sample.question
    traces = parse_traces(sample.answer)
    assert list(traces.futures) == [1]
    np.testing.assert_array_equal(traces.futures[1], points[1:9, 0])
    assert traces_sample(clip, "push the square", steps=10) is None, "not seen so long"
    assert traces_sample(clip, " ") is None
    frame = np.zeros((64, 128, 3), np.uint8)
    drawn = marked_image(frame, clip)
    assert drawn.shape == frame.shape and drawn[12, 20].max() > 100 and not frame.any()
    empty = ClipMarks(clip.ids[:0], points[:, :0], visible[:, :0], clip.moving[:0], False)
    assert marks_sample(empty) is None and traces_sample(empty, "push") is None


def two_films(folder):
    """Films of one name in folders of their own, as data sets have them."""
    for place, seed in (("kitchen", 0), ("lab", 1)):
        (folder / place).mkdir()
        frames, _ = moving_square(20, seed)
        out = cv2.VideoWriter(str(folder / place / "rgb.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (SIDE, SIDE))
        for frame in frames:
            out.write(frame[..., ::-1])
        out.release()
    return folder / "kitchen" / "rgb.avi", folder / "lab" / "rgb.avi"


def test_a_video_is_known_by_its_content_not_by_its_name(tmp_path, capsys):
    kitchen, lab = two_films(tmp_path)
    out, done = tmp_path / "out", tmp_path / "out" / "rgb" / "traces" / "rgb.npz"
    track.track(TrackConfig((kitchen,), out))
    first = done.read_bytes()
    assert json.loads((out / "rgb" / "report.json").read_text())["content"] == read_traces(done).source[:12]
    track.track(TrackConfig((kitchen,), out))
    with pytest.raises(CommandError, match=r"traces of another file of this name .* choose another --output"):
        track.track(TrackConfig((lab,), out))
    assert done.read_bytes() == first
    # The same film under another name is another entry, but the same content.
    kitchen.rename(tmp_path / "cooking.avi")
    track.track(TrackConfig((tmp_path / "cooking.avi",), out))
    assert read_traces(out / "cooking" / "traces" / "cooking.npz").source == read_traces(done).source


def test_traces_that_do_not_say_of_what_they_are_load_but_are_made_again(tmp_path):
    kitchen, lab = two_films(tmp_path)
    out, done = tmp_path / "out", tmp_path / "out" / "rgb" / "traces" / "rgb.npz"
    track.track(TrackConfig((kitchen,), out))
    with np.load(done) as file:
        arrays = {name: file[name] for name in file.files if name != "source"}
    np.savez_compressed(done, **arrays)
    assert read_traces(done).source == ""
    track.track(TrackConfig((lab,), out))
    assert read_traces(done).source


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_damaged_settings_and_traces_are_told(tmp_path, content):
    kitchen, _ = two_films(tmp_path)
    out = tmp_path / "out"
    track.track(TrackConfig((kitchen,), out))
    for path in (out / "rgb" / "traces" / "rgb.npz", out / "track.json"):
        path.write_bytes(content)
        with pytest.raises(CommandError, match="delete it"):
            track.track(TrackConfig((kitchen,), out))
