"""Point tracking, camera motion, marks and traces of clips and their files, on pictures whose motion is known."""

from __future__ import annotations

import os
import sys
import types

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_contracts.errors import ConfigError
from magma_policy.marks.camera_motion import camera_moves, homographies_to_first, remove_camera_motion, step_lengths
from magma_policy.marks.clip_marks import ClipMarks, MarkOptions, clip_marks, clips, cluster
from magma_policy.marks.trace_files import TraceFileError, TrackedVideo, read_traces, write_traces
from magma_policy.marks.tracking import CoTracker, LucasKanadeTracker, PointTracks, TrackerError, grid_points

CASES = int(os.environ.get("MAGMA_PROPERTY_CASES", "10"))
SIDE = 96
TRACKER = LucasKanadeTracker()


def texture(seed: int, side: int = SIDE) -> np.ndarray:
    """A smooth random picture, uint8 (side, side, 3): blobs of a few px, which is what flow can hold on to."""
    noise = np.random.default_rng(seed).uniform(0, 255, (side, side, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    low, high = smooth.min(), smooth.max()
    return ((smooth - low) / (high - low) * 255).astype(np.uint8)


def translation(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def from_corner(homography: np.ndarray) -> np.ndarray:
    """A homography of positions from the picture's corner as one of OpenCV's positions, and the other way round."""
    return translation(-0.5, -0.5) @ homography @ translation(0.5, 0.5)


def film(picture: np.ndarray, homographies: np.ndarray) -> np.ndarray:
    """What a camera sees whose frame t shows the picture moved by homography t (positions from the corner)."""
    size = picture.shape[1::-1]
    return np.stack(
        [cv2.warpPerspective(picture, from_corner(h), size, borderMode=cv2.BORDER_REFLECT) for h in homographies]
    )


def moved(points: np.ndarray, homographies: np.ndarray) -> np.ndarray:
    """Points (N, 2) moved by each of (T, 3, 3): (T, N, 2)."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    mapped = np.einsum("tij,nj->tni", homographies, homogeneous)
    return mapped[..., :2] / mapped[..., 2:]


@st.composite
def gentle_homographies(draw, frames: int = 6) -> np.ndarray:
    """A camera that shifts, turns, zooms and tilts a little more in every frame; (frames, 3, 3), the first identity."""
    unit = st.floats(-1.0, 1.0)
    shift_x, shift_y, turn, zoom, tilt_x, tilt_y = (draw(unit) for _ in range(6))
    centre = SIDE / 2
    result = []
    for t in range(frames):
        angle, scale = 0.02 * turn * t, 1 + 0.01 * zoom * t
        rotate = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
        x, y = 2.5 * shift_x * t, 2.5 * shift_y * t
        tilt = np.array([[scale, 0, x], [0, scale, y], [2e-5 * tilt_x, 2e-5 * tilt_y, 1]])
        result.append(translation(centre, centre) @ (tilt @ rotate if t else np.eye(3)) @ translation(-centre, -centre))
    return np.array(result)


@settings(max_examples=CASES, deadline=None)
@given(homographies=gentle_homographies(), seed=st.integers(0, 100))
def test_lucas_kanade_follows_a_known_homography(homographies, seed):
    starts = grid_points(SIDE, SIDE, 5)
    tracks = TRACKER.track(film(texture(seed), homographies), starts)
    known = moved(starts, homographies)
    assert tracks.points.shape == (6, 25, 2) and tracks.points.dtype == np.float32
    assert tracks.visible.shape == (6, 25) and tracks.visible.dtype == bool and tracks.visible[0].all()
    inner = ((known > 12) & (known < SIDE - 12)).all(axis=-1).all(axis=0)
    assert tracks.visible[:, inner].mean() > 0.9, "a smooth motion is followed where the picture goes on"
    error = np.linalg.norm(tracks.points - known, axis=-1)
    assert np.quantile(error[tracks.visible & inner], 0.95) < 0.5
    off = (known < -1).any(axis=-1) | (known > SIDE + 1).any(axis=-1)
    assert not (tracks.visible & off & (error < 1)).any(), "what has left the picture is not reported as seen"


@settings(max_examples=CASES, deadline=None)
@given(seed=st.integers(0, 100), when=st.integers(2, 5))
def test_occluded_points_are_lost_and_stay_lost(seed, when):
    """A textured board pops up over the left half, and goes again."""
    frames = np.repeat(texture(seed)[None], 8, axis=0)
    frames[when : when + 2, :, : SIDE // 2] = texture(seed + 1000)[:, : SIDE // 2]
    starts = grid_points(SIDE, SIDE, 6)
    tracks = TRACKER.track(frames, starts)
    behind, beside = starts[:, 0] < SIDE / 2 - 10, starts[:, 0] > SIDE / 2 + 10
    assert tracks.visible[:when].all()
    assert tracks.visible[when, behind].mean() < 0.1
    lost = behind & ~tracks.visible[when]
    assert not tracks.visible[when:, lost].any(), "what is lost stays lost"
    last = tracks.points[when - 1, lost]
    np.testing.assert_array_equal(tracks.points[when:, lost], np.repeat(last[None], 8 - when, axis=0))
    assert tracks.visible[:, beside].all()
    np.testing.assert_allclose(tracks.points[-1, beside], starts[beside], atol=0.05)


def test_a_board_that_slides_over_points_hides_them():
    frames = np.repeat(texture(1)[None], 12, axis=0)
    board = texture(2)
    for t in range(12):
        frames[t, :, : 6 * t] = board[:, SIDE - 6 * t :]
    starts = np.array([[20.0, 30.0], [30.0, 60.0], [85.0, 50.0]])
    tracks = TRACKER.track(frames, starts)
    error = np.linalg.norm(tracks.points - starts, axis=-1)
    assert not tracks.visible[-1, :2].any() and tracks.visible[-1, 2]
    assert error[tracks.visible].max() < 1.0, "no point was carried away by the board while it counted as seen"


def test_points_without_texture_off_the_picture_and_on_edges_are_lost():
    frames = np.full((3, SIDE, SIDE, 3), 90, dtype=np.uint8)
    frames[:, :, SIDE // 2 :] = 160
    tracks = TRACKER.track(frames, [[20.0, 20.0], [SIDE / 2, SIDE / 2], [-3.0, 5.0], [SIDE + 0.1, 5.0]])
    assert tracks.visible[0].tolist() == [True, True, False, False]
    assert not tracks.visible[1:].any()
    assert np.isfinite(tracks.points).all()


def test_positions_count_from_the_corner():
    """A picture and its mirror image give mirrored tracks only if nothing counts from the centre of a pixel."""
    frames = film(texture(3), np.array([translation(1.7 * t, 0.6 * t) for t in range(4)]))
    starts = grid_points(SIDE, SIDE, 4)
    tracks = TRACKER.track(frames, starts)
    mirrored = TRACKER.track(frames[:, :, ::-1], [SIDE, 0] + starts * [-1, 1])
    both = tracks.visible & mirrored.visible
    assert both.mean() > 0.6
    np.testing.assert_allclose(([SIDE, 0] + mirrored.points * [-1, 1])[both], tracks.points[both], atol=0.1)
    grid = grid_points(8, 4, 2)
    np.testing.assert_allclose(grid, [[2, 1], [6, 1], [2, 3], [6, 3]])


@pytest.mark.parametrize(
    ("frames", "starts", "words"),
    [
        (np.zeros((2, 8, 8), np.uint8), [[1, 1]], "frames must be uint8"),
        (np.zeros((2, 8, 8, 3), np.float32), [[1, 1]], "float32"),
        (np.zeros((0, 8, 8, 3), np.uint8), [[1, 1]], "frames must be"),
        (np.zeros((2, 8, 8, 3), np.uint8), [[1, np.nan]], "finite"),
        (np.zeros((2, 8, 8, 3), np.uint8), [1, 1], "shape"),
    ],
)
def test_trackers_say_what_is_wrong_with_their_input(frames, starts, words):
    with pytest.raises(ValueError, match=words):
        TRACKER.track(frames, starts)


@pytest.mark.parametrize(
    "wrong", [{"window_px": 4}, {"levels": 11}, {"forward_backward_px": 0.0}, {"similarity": 1.0}, {"texture": -1.0}]
)
def test_settings_of_lucas_kanade_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LucasKanadeTracker(**wrong)


def test_no_points_and_one_frame():
    assert TRACKER.track(texture(0)[None], np.zeros((0, 2))).points.shape == (1, 0, 2)
    assert TRACKER.track(texture(0)[None], [[5.0, 5.0]]).visible.tolist() == [[True]]


# CoTracker


def test_without_the_package_it_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cotracker", None)
    with pytest.raises(TrackerError, match=r"pip install git\+https://github.com/facebookresearch/co-tracker"):
        CoTracker(tmp_path / "weights.pth")


class FakePredictor(torch.nn.Module):
    """Stands in for the package: moves every point 1 px to the right per frame and hides the last one."""

    def __init__(self, checkpoint=None, offline=True):
        super().__init__()
        assert checkpoint is None, "weights are loaded by the adapter, which allows no code in them"
        self.model = torch.nn.Linear(2, 2)

    def forward(self, video, queries):
        assert video.shape[2] == 3 and video.dtype == torch.float32 and video.max() > 1, "0..255, (B, T, 3, H, W)"
        assert (queries[..., 0] == 0).all()
        steps = torch.arange(video.shape[1])[None, :, None]
        tracks = queries[:, None, :, 1:].repeat(1, video.shape[1], 1, 1)
        tracks[..., 0] += steps
        visible = torch.ones(tracks.shape[:3], dtype=torch.bool)
        visible[..., -1] = False
        return tracks, visible


@pytest.fixture
def package(monkeypatch):
    module = types.ModuleType("cotracker.predictor")
    module.CoTrackerPredictor = FakePredictor
    monkeypatch.setitem(sys.modules, "cotracker", types.ModuleType("cotracker"))
    monkeypatch.setitem(sys.modules, "cotracker.predictor", module)


def test_co_tracker_adapter(package, tmp_path):
    torch.save({"model": FakePredictor().model.state_dict()}, tmp_path / "weights.pth")
    tracks = CoTracker(tmp_path / "weights.pth").track(
        np.full((4, 10, 12, 3), 200, np.uint8), [[1.0, 2.0], [20.0, 2.0], [10.5, 3.0], [4.0, 4.0]]
    )
    np.testing.assert_allclose(tracks.points[:, 0, 0], [1, 2, 3, 4])
    assert tracks.visible[:, 0].all()
    assert not tracks.visible[:, 1].any(), "off the picture from the start"
    assert tracks.visible[:, 2].tolist() == [True, True, False, False], "runs off the picture"
    assert tracks.visible[:, 3].tolist() == [True, False, False, False]


def test_co_tracker_weights_that_are_none(package, tmp_path):
    with pytest.raises(TrackerError, match="no such file"):
        CoTracker(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(TrackerError, match="are not weights"):
        CoTracker(tmp_path / "text.pth")
    torch.save({"model": {"other": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(TrackerError, match="are not weights"):
        CoTracker(tmp_path / "other.pth")
    torch.save(Code(), tmp_path / "code.pth")
    with pytest.raises(TrackerError, match="are not weights"):
        CoTracker(tmp_path / "code.pth")


class Code:
    """Pickled code, which must not run."""

    def __reduce__(self):
        return (pytest.fail, ("code in a file of weights was run",))


# Camera motion


@settings(max_examples=CASES * 3, deadline=None)
@given(homographies=gentle_homographies())
def test_camera_motion_is_removed_exactly(homographies):
    points = np.random.default_rng(0).uniform(0, SIDE, (60, 2))
    tracks = PointTracks(moved(points, homographies).astype(np.float32), np.ones((6, 60), dtype=bool))
    still = remove_camera_motion(tracks, homographies_to_first(tracks))
    np.testing.assert_allclose(still.points, np.repeat(points[None], 6, axis=0), atol=2e-3)
    assert still.visible.all()


@settings(max_examples=CASES * 3, deadline=None)
@given(homographies=gentle_homographies(), share=st.floats(0.05, 0.35))
def test_what_moves_in_the_scene_keeps_its_own_motion(homographies, share):
    """Less than half of the points going their own way do not disturb the homography; their motion is what is left."""
    rng = np.random.default_rng(1)
    points = rng.uniform(0, SIDE, (80, 2))
    own = np.arange(6)[:, None, None] * np.array([6.0, -4.0]) * (np.arange(80) < share * 80)[:, None]
    seen = np.stack([moved(points + own[t], homographies[t : t + 1])[0] for t in range(6)])
    tracks = PointTracks(seen.astype(np.float32), np.ones((6, 80), dtype=bool))
    left = remove_camera_motion(tracks, homographies_to_first(tracks, 2.0))
    np.testing.assert_allclose(left.points, points + own, atol=0.05)


def test_a_frame_that_nothing_explains_is_not_seen():
    rng = np.random.default_rng(2)
    points = np.repeat(rng.uniform(0, SIDE, (1, 40, 2)), 3, axis=0).astype(np.float32)
    points[1] = rng.uniform(0, SIDE, (40, 2))
    tracks = PointTracks(points, np.ones((3, 40), dtype=bool))
    homographies = homographies_to_first(tracks)
    assert np.isnan(homographies[1]).all() and np.isfinite(homographies[2]).all()
    left = remove_camera_motion(tracks, homographies)
    assert left.visible.all(axis=1).tolist() == [True, False, True] and not left.visible[1].any()
    np.testing.assert_allclose(left.points[1], points[0])
    few = PointTracks(points[:, :3], np.ones((3, 3), dtype=bool))
    assert np.isnan(homographies_to_first(few)[1:]).all()


def test_camera_motion_is_told_by_the_share_of_moving_traces():
    points = np.zeros((5, 10, 2), dtype=np.float32)
    points[:, :9, 0] = np.arange(5)[:, None]
    tracks = PointTracks(points, np.ones((5, 10), dtype=bool))
    assert camera_moves(tracks)
    assert not camera_moves(tracks.select(np.array([0, 1, 2, 3, 9]))), "4 of 5 are not more than 80 %"
    assert not camera_moves(tracks, step_px=1.0), "1 px a frame is not more than 1 px"
    assert not camera_moves(PointTracks(points[:, :0], tracks.visible[:, :0]))
    hidden = PointTracks(points, np.ones((5, 10), dtype=bool))
    hidden.visible[2:, 0] = False
    assert step_lengths(hidden)[0] == 1.0, "only steps between frames in which a point is seen count"


# Marks


def scene(seed: int, camera: float = 0.0, frames: int = 9) -> np.ndarray:
    """A textured square, half a side wide, that moves 2 px a frame over a textured background; the camera moves too."""
    background, board = texture(seed, SIDE + 64), texture(seed + 500)
    pictures = []
    for t in range(frames):
        whole = background.copy()
        whole[40:88, 40 + 2 * t : 88 + 2 * t] = board[:48, :48]
        pictures.append(cv2.warpPerspective(whole, translation(-camera * t - 16, -16), (SIDE, SIDE)))
    return np.stack(pictures)


OPTIONS = MarkOptions(horizon=8)


@settings(max_examples=CASES, deadline=None)
@given(seed=st.integers(0, 50), camera=st.sampled_from([0.0, 1.5]))
def test_marks_move_where_the_scene_does(seed, camera):
    clip = clip_marks(scene(seed, camera), TRACKER, OPTIONS, seed)
    assert clip.camera_moved == (camera > 0)
    assert sorted(clip.ids.tolist()) == list(range(1, len(clip.ids) + 1))
    assert 2 <= clip.moving.sum() <= 5 and 6 <= (~clip.moving).sum() <= 14
    scale = 256 / SIDE
    steps = []
    for mark, path in clip.traces().paths(256, 256).items():
        x, y = np.array(clip.starts()[mark]) / scale
        # The square covers 24 to 72 at first and goes 16 to the right; what it passes over may be carried along.
        assert 14 < x < 96 and 14 < y < 82, "on the square or in its way"
        if 30 < x < 66 and 30 < y < 66:
            steps += np.diff(path, axis=0).tolist()
    if steps:
        np.testing.assert_allclose(np.mean(steps, axis=0), [2 * scale, 0], atol=0.6)
    assert set(clip.traces().futures) <= set(clip.ids[clip.moving].tolist()), "only moving marks are listed"


def test_the_same_seed_gives_the_same_marks_and_another_others():
    frames = scene(7)
    first, again, other = (clip_marks(frames, TRACKER, OPTIONS, seed) for seed in ([1, 2], [1, 2], [1, 3]))
    assert first.starts() == again.starts()
    np.testing.assert_array_equal(first.points, again.points)
    assert first.starts() != other.starts()


@settings(max_examples=CASES * 3, deadline=None)
@given(
    count=st.integers(1, 8),
    traces=st.integers(0, 30).flatmap(lambda n: st.lists(st.integers(0, 50), min_size=n, max_size=n)),
    seed=st.integers(0, 2**31 - 1),
)
def test_clusters_depend_on_the_seed_alone(count, traces, seed):
    data = np.array([[[x, 2 * x], [x + 1, x]] for x in traces], dtype=np.float32).reshape(-1, 2, 2)
    labels = cluster(data, count, seed)
    cv2.setRNGSeed(12345)
    np.testing.assert_array_equal(labels, cluster(data, count, seed))
    assert labels.shape == (len(traces),)
    if traces:
        assert labels.min() >= 0 and labels.max() < count


def test_clusters_are_the_obvious_ones():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [100, 0], [0, 100]])
    data = np.concatenate([rng.normal(centre, 1.0, (20, 2)) for centre in centres])
    labels = cluster(data, 3, 5)
    groups = [set(labels[20 * k : 20 * k + 20].tolist()) for k in range(3)]
    assert all(len(group) == 1 for group in groups) and len(set.union(*groups)) == 3


def test_a_clip_without_texture_has_no_marks():
    clip = clip_marks(np.full((9, 64, 64, 3), 80, np.uint8), TRACKER, OPTIONS, 0)
    assert len(clip.ids) == 0 and clip.points.shape == (9, 0, 2) and not clip.traces().futures


def test_traces_end_where_the_mark_was_seen_last_and_bridge_gaps():
    points = np.zeros((5, 2, 2), dtype=np.float32)
    points[:, 0, 0] = [10, 20, 99, 40, 50]
    points[:, 1, 1] = [0, 10, 20, 300, 300]
    visible = np.ones((5, 2), dtype=bool)
    visible[2, 0] = visible[4, 0] = False
    clip = ClipMarks(np.array([1, 2]), points, visible, np.array([True, True]), False)
    traces = clip.traces()
    assert traces.futures[1].tolist() == [[20, 0], [30, 0], [40, 0]]
    assert traces.futures[2].tolist() == [[0, 10], [0, 20]], "and not where it was off the grid"
    assert list(clip.traces(3).futures) == [1] and list(clip.traces(2).futures) == [1, 2]
    assert clip.traces(2).futures[1].tolist() == [[20, 0], [30, 0]]
    assert not ClipMarks(clip.ids, points, visible, np.array([False, False]), False).traces().futures


@settings(max_examples=CASES * 3, deadline=None)
@given(count=st.integers(0, 30), length=st.integers(1, 6), every=st.integers(1, 8))
def test_clips_are_all_whole_ones(count, length, every):
    frames = [np.full((2, 2, 3), number, np.uint8) for number in range(count)]
    found = [(start, clip[:, 0, 0, 0].tolist()) for start, clip in clips(iter(frames), length, every)]
    assert found == [(s, list(range(s, s + length))) for s in range(0, count - length + 1, every)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon": 0}, {"grid": 1}, {"camera_step_px": 0.0}, {"camera_share": 1.5}, {"moving_marks": (5, 2)},
        {"static_marks": (-1, 2)}, {"reprojection_px": float("nan")},
    ],
)  # fmt: skip
def test_options_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MarkOptions(**wrong)


# Files


@st.composite
def tracked_videos(draw):
    frames = draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    found = {}
    for start in draw(st.lists(st.integers(0, 99), max_size=4, unique=True)):
        marks = draw(st.integers(0, 4))
        found[start] = ClipMarks(
            np.arange(1, marks + 1),
            rng.uniform(0, 256, (frames, marks, 2)).astype(np.float32),
            rng.random((frames, marks)) < 0.7,
            rng.random(marks) < 0.5,
            bool(rng.random() < 0.5),
        )
    return TrackedVideo((draw(st.integers(1, 999)), draw(st.integers(1, 999))), draw(st.text(max_size=20)), found)


@settings(max_examples=CASES * 2, deadline=None)
@given(video=tracked_videos())
def test_trace_files_round_trip(tmp_path_factory, video):
    path = tmp_path_factory.mktemp("traces") / "episode.npz"
    write_traces(path, video)
    read = read_traces(path)
    assert (read.frame_size, list(read.clips)) == (video.frame_size, sorted(video.clips))
    # NumPy's strings end at their last character that is not a null.
    assert read.instruction == video.instruction.rstrip("\0")
    for start, clip in video.clips.items():
        other = read.clips[start]
        assert other.camera_moved == clip.camera_moved
        for name in ("ids", "points", "visible", "moving"):
            mine, theirs = getattr(clip, name), getattr(other, name)
            assert mine.dtype == theirs.dtype and (mine.size == 0 or mine.shape == theirs.shape)
            np.testing.assert_array_equal(mine.ravel(), theirs.ravel())
    assert [file.name for file in path.parent.iterdir()] == ["episode.npz"], "nothing half written is left behind"


def test_trace_files_that_are_none(tmp_path):
    path = tmp_path / "episode.npz"
    with pytest.raises(TraceFileError, match="no such file"):
        read_traces(path)
    video = TrackedVideo((8, 8), "push", {0: clip_marks(scene(3), TRACKER, OPTIONS, 0)})
    write_traces(path, video)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TraceFileError, match="cannot be read"):
        read_traces(path)
    write_traces(path, video)
    whole = dict(np.load(path))
    for name, value, words in (
        ("format_version", np.int64(9), "version 9"),
        ("moving", whole["moving"][1:], "moving has shape"),
        ("points", whole["points"] * np.nan, "not finite"),
        ("clip", whole["clip"] + 5, "belongs to no clip"),
        ("points", whole["points"][0], "another form"),
    ):
        np.savez(path, **{**whole, name: value})
        with pytest.raises(TraceFileError, match=words):
            read_traces(path)
    np.savez(path, **{name: value for name, value in whole.items() if name != "visible"})
    with pytest.raises(TraceFileError, match="visible"):
        read_traces(path)
    np.savez(path, **{**whole, "ids": np.array([object()])})
    with pytest.raises(TraceFileError, match="cannot be read"):
        read_traces(path)
