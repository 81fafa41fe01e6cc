"""Suites hold the episodes of the published protocols."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from magma_eval.episodes import Episode, read_suite_file, write_suite_file
from magma_eval.suites import SUITES, Shard, select, suite_episodes
from magma_sim.backends.simpler_original.options import SimplerOptions
from magma_sim.demonstrations.config import DemonstrationConfig
from magma_sim.tasks.validation import VALIDATION_SEED

COUNTS = {
    "tabletop-perturbed": 960,
    "tabletop": 96,
    "simpler-bridge": 96,
    "simpler-widowx": 96,
    "tabletop-validation": 96,
    "simpler-bridge-validation": 96,
    "simpler-google-vm": 864,
    "simpler-google-va": 1992,
    "miniwob": 1300,
    "miniwob-learned": 560,
    "miniwob-controls": 420,
}
COKE, NEAR, DRAWER, PUT_IN = (
    "google_robot_pick_coke_can",
    "google_robot_move_near",
    "google_robot_drawer",
    "google_robot_place_apple_in_closed_top_drawer",
)


def by_task(suite: str) -> Counter[str]:
    return Counter(episode.task for episode in suite_episodes(suite))


def test_counts_per_suite() -> None:
    assert {name: len(suite_episodes(name)) for name in SUITES} == COUNTS


def test_counts_per_task() -> None:
    for suite in ("tabletop", "simpler-bridge", "simpler-widowx"):
        assert list(by_task(suite).values()) == [24] * 4
    assert by_task("simpler-google-vm") == {COKE: 300, NEAR: 240, DRAWER: 216, PUT_IN: 108}
    assert by_task("simpler-google-va") == {COKE: 825, NEAR: 600, DRAWER: 378, PUT_IN: 189}


def test_validation_plays_layouts_that_neither_training_nor_evaluation_has(tmp_path: Path) -> None:
    for suite in ("tabletop-validation", "simpler-bridge-validation"):
        episodes = suite_episodes(suite)
        assert {episode.reset_variant for episode in episodes} == {"random"}
        assert min(episode.layout for episode in episodes) == VALIDATION_SEED
    DemonstrationConfig(tmp_path, episodes=10, seed=VALIDATION_SEED - 10)
    with pytest.raises(ValueError, match="for validation"):
        DemonstrationConfig(tmp_path, episodes=11, seed=VALIDATION_SEED - 10)


def test_camera_variants_are_countable_apart() -> None:
    rest = Counter(e.task for e in suite_episodes("simpler-google-va") if e.factor != "camera")
    assert rest == {COKE: 675, NEAR: 480, DRAWER: 378, PUT_IN: 189}


def test_variants_per_task_in_variant_aggregation() -> None:
    variants: dict[str, set[str]] = {}
    for episode in suite_episodes("simpler-google-va"):
        scene = episode.variant.split(",")[-1]
        variants.setdefault(episode.task, set()).add(scene)
    assert {task: len(names) for task, names in variants.items()} == {COKE: 11, NEAR: 10, DRAWER: 7, PUT_IN: 7}


def test_every_simpler_episode_is_a_reset_of_a_valid_environment_and_no_start_occurs_twice() -> None:
    for suite in ("simpler-widowx", "simpler-google-vm", "simpler-google-va"):
        starts = set()
        for episode in suite_episodes(suite):
            options = SimplerOptions.from_mapping(episode.options)
            reset = options.reset(episode.layout)
            starts.add((episode.environment, reset))
            assert (reset.object_xy is None) != (reset.object_episode is None)
        assert len(starts) == COUNTS[suite]


def test_protocol_of_each_task() -> None:
    expected = {COKE: (80, 3, False), NEAR: (80, 3, False), DRAWER: (113, 3, True), PUT_IN: (200, 3, True)}
    for suite in ("simpler-google-vm", "simpler-google-va"):
        for episode in suite_episodes(suite):
            options = SimplerOptions.from_mapping(episode.options)
            assert (options.max_episode_steps, options.control_freq, options.ray_tracing) == expected[episode.task]
            assert (options.rgb_overlay is not None) == (suite == "simpler-google-vm")


def test_coke_can_stands_on_the_published_grid() -> None:
    first = next(e for e in suite_episodes("simpler-google-vm") if e.task == COKE)
    options = SimplerOptions.from_mapping(first.options)
    places = [options.reset(layout).object_xy for layout in range(options.layouts)]
    assert len(set(places)) == 25
    assert places[0] == (-0.35, -0.02)
    assert places[-1] == pytest.approx((-0.12, 0.42))
    assert options.reset(0).robot_xy == (0.35, 0.20)


def test_drawer_places_have_their_own_photographs() -> None:
    episodes = [e for e in suite_episodes("simpler-google-vm") if e.variant == "open_top,urdf=plain"]
    overlays = [e.options["rgb_overlay"] for e in episodes]
    assert overlays == [f"open_drawer_{place}.png" for place in ("a0", "a1", "a2", "b0", "b1", "b2", "c0", "c1", "c2")]
    assert [e.episode_id for e in episodes] == list(range(9))


def test_suite_file_round_trip(tmp_path: Path) -> None:
    episodes = suite_episodes("simpler-google-vm")[::50]
    path = tmp_path / "mine.json"
    write_suite_file(path, episodes)
    assert read_suite_file(path) == episodes
    assert suite_episodes(path) == episodes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "not JSON"),
        ("{}", "not a suite file"),
        ({"episodes": []}, "holds no episodes"),
        ({"episodes": [{"suite": "s"}]}, "incomplete"),
        ({"episodes": [{"suite": "s", "bogus": 1}]}, "no fields bogus"),
        ({"episodes": [3]}, "is an object"),
        ({"episodes": [Episode("s", "t", "v", 0, "m", 0).as_json()] * 2}, "two episodes"),
        ({"episodes": [Episode("s", "t", "v", 0, "m", 0).as_json() | {"layout": -1}]}, "layout is a number from 0"),
        ({"episodes": [Episode("s", "t", "v", 0, "m", 0).as_json() | {"reset_variant": "x"}]}, "reset_variant"),
    ],
)
def test_bad_suite_files_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "bad.json"
    if isinstance(content, dict) and content:
        content = {"format": "magma-eval-suite-1", **content}
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_suite_file(path)


def test_unknown_suite_lists_the_suites() -> None:
    with pytest.raises(ValueError, match="simpler-bridge"):
        suite_episodes("simpler")


def test_select() -> None:
    episodes = suite_episodes("tabletop")
    assert len(select(episodes, tasks=("stack_blocks",), limit=5)) == 5
    with pytest.raises(ValueError, match="no episode has the task nothing"):
        select(episodes, tasks=("nothing",))
    with pytest.raises(ValueError, match="at least 1"):
        select(episodes, limit=0)


@pytest.mark.parametrize("suite", ["tabletop", "simpler-google-va"])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_shards_are_a_partition(suite: str, count: int) -> None:
    episodes = suite_episodes(suite)
    parts = [Shard(index, count).of(episodes) for index in range(count)]
    assert sum(map(len, parts)) == len(episodes)
    names = [(e.task, e.variant, e.episode_id) for part in parts for e in part]
    assert len(set(names)) == len(episodes)
    assert max(map(len, parts)) <= 1.6 * min(map(len, parts))


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "0/0", "a/b"])
def test_bad_shards_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shard"):
        Shard.parse(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"robot": "panda"}, "unknown robot"),
        ({"object_episodes": None}, "either"),
        ({"object_init_x": [0, 1, 2]}, "go together"),
        ({"robot_init_x": [0, 1]}, "robot_init_x"),
        ({"control_freq": 0}, "control_freq"),
        ({"env_id": ""}, "env_id"),
        ({"speed": 1}, "unknown options speed"),
    ],
)
def test_bad_simpler_options_are_refused(change: dict, message: str) -> None:
    good = {"env_id": "MoveNearGoogleInScene-v0", "scene_name": "a", "object_episodes": 60}
    with pytest.raises(ValueError, match=message):
        SimplerOptions.from_mapping(good | change)


def test_layouts_out_of_range_are_refused() -> None:
    options = SimplerOptions("MoveNearGoogleInScene-v0", "a", object_episodes=60)
    with pytest.raises(ValueError, match="layout 60 does not exist"):
        options.reset(60)
    assert options.reset(59).object_episode == 59
