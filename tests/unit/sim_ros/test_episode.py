import imageio_ffmpeg
import numpy as np
import pytest

from magma_contracts.arm_state import ArmState
from magma_eval.report.clips import AFTER_SUCCESS_STEPS
from magma_eval.results.episode_record import EpisodeRecord
from magma_sim.tasks.interface import FilmableTask, Observation, TaskSpec
from magma_sim_ros.episode import Episode, EpisodeSettings

UNIT = np.array([0.0, 0.0, 0.0, 1.0])
ACTION = np.array([0.01, 0, 0, 0, 0, 0, 1.0])


class CountingTask:
    """A task without physics: succeeds from `succeeds_at` on."""

    evaluation_layouts = 3

    def __init__(self, name, succeeds_at=None, max_steps=6):
        if name == "unknown":
            raise ValueError("unknown task 'unknown'")
        self.spec = TaskSpec("fake", name, f"do {name}", max_steps, 4, 4, np.eye(3), np.eye(4), 0.0)
        self.succeeds_at = succeeds_at
        self.actions = []

    def _observe(self):
        step = len(self.actions)
        arm = ArmState(np.zeros(3), UNIT, np.zeros(3), UNIT, 1.0, 0.25)
        success = self.succeeds_at is not None and step >= self.succeeds_at
        return Observation(np.zeros((4, 4, 3), np.uint8), arm, {}, step, success, self.spec.instruction)

    def reset(self, variant, layout):
        if layout > 100:
            raise ValueError("no such layout")
        self.actions = []
        return self._observe()

    def step(self, action):
        if not np.isfinite(action).all():
            raise ValueError("not finite")
        self.actions.append(action)
        return self._observe()


def started(settings=None, **task):
    episode = Episode(lambda name: CountingTask(name, **task), settings or EpisodeSettings())
    episode.reset("a", "eval", 0)
    episode.published(100)
    return episode


def test_a_command_must_answer_the_world_as_it_is():
    episode = started()
    assert episode.refusal(99) is not None
    assert episode.refusal(100) is None
    episode.published(150)
    assert episode.refusal(120) is None, "the first publication of this world counts, not the repeated one"
    episode.step(ACTION, 100)
    episode.published(200)
    assert "before the last step" in episode.refusal(150), "a second answer to the world before"
    assert episode.refusal(100) is None, "the next step of the same chunk"
    assert episode.refusal(200) is None


def test_in_real_time_only_commands_from_before_the_reset_are_refused():
    episode = started(EpisodeSettings(lockstep=False))
    episode.step(None)
    episode.published(200)
    assert episode.refusal(100) is None and episode.refusal(99) is not None
    episode.reset()
    episode.published(300)
    assert episode.refusal(200) is not None


def test_reset_forgets_the_chunk_before():
    episode = started()
    episode.step(ACTION, 100)
    episode.reset("", "", 1)
    assert episode.refusal(100) == "no episode is running"
    episode.published(300)
    assert episode.refusal(100) is not None and episode.refusal(300) is None
    assert (episode.task.spec.task, episode.variant, episode.layout) == ("a", "eval", 1)


def test_no_command_leaves_target_and_gripper_where_they_are():
    episode = started(EpisodeSettings(lockstep=False))
    episode.step(None)
    np.testing.assert_array_equal(episode.task.actions[0], [0, 0, 0, 0, 0, 0, 0.25])


def test_ends_after_the_last_step_with_the_flag_of_that_step():
    episode = started()
    for _ in range(6):
        assert not episode.done
        episode.step(ACTION)
    assert episode.done and not episode.observation.success
    assert episode.refusal(10**9) == "no episode is running"
    episode.published(200)
    assert episode.refusal(200) is None, "the world goes on unless told to stop"


def test_ends_early_once_success_has_held_and_then_refuses_when_told_to():
    episode = started(EpisodeSettings(success_hold_steps=2, stop_when_done=True), succeeds_at=3)
    for step in range(1, 5):
        assert not episode.done
        episode.step(ACTION)
        assert episode.observation.success == (step >= 3)
    assert episode.done
    episode.published(200)
    assert episode.refusal(200) == "the episode has ended"
    episode.reset()
    episode.published(300)
    assert not episode.done and episode.refusal(300) is None


def test_all_steps_are_played_when_asked():
    episode = started(succeeds_at=0)
    for _ in range(5):
        episode.step(ACTION)
        assert not episode.done
    episode.step(ACTION)
    assert episode.done and episode.observation.success


@pytest.mark.parametrize("wrong", [("unknown", "eval", 0), ("a", "training", 0), ("a", "eval", 101)])
def test_a_wrong_reset_leaves_the_running_episode_alone(wrong):
    episode = started()
    episode.step(ACTION, 100)
    episode.published(200)
    with pytest.raises(ValueError, match=r"unknown|no such"):
        episode.reset(*wrong)
    assert episode.observation.step == 1 and episode.refusal(200) is None


def test_an_invalid_action_moves_nothing():
    episode = started()
    with pytest.raises(ValueError, match="finite"):
        episode.step(np.full(7, np.nan), 100)
    assert episode.observation.step == 0 and episode.refusal(100) is None


def test_evaluation_layouts_go_round_and_random_ones_do_not():
    episode = started()
    episode.reset("", "eval", 2)
    assert episode.next_layout() == 0
    episode.reset("", "random", 2)
    assert episode.next_layout() == 3
    with pytest.raises(RuntimeError, match="reset"):
        _ = Episode(CountingTask, EpisodeSettings()).observation
    with pytest.raises(ValueError, match="success_hold_steps"):
        EpisodeSettings(success_hold_steps=-1)


def test_what_was_executed_is_kept_to_the_end_of_the_episode(tmp_path):
    episode = started(EpisodeSettings(success_hold_steps=2), succeeds_at=3, max_steps=6)
    episode.step(ACTION, 100)
    episode.step(None)
    for _ in range(4):
        episode.step(ACTION, 100)
    path = tmp_path / "one.npz"
    episode.record().write(path)
    record = EpisodeRecord.read(path)
    assert record.success.tolist() == [False, False, True, True], "the world went on after the end"
    assert record.commanded.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(record.actions[0], ACTION)
    np.testing.assert_array_equal(record.actions[1], [0, 0, 0, 0, 0, 0, 0.25])
    episode.reset("a", "eval", 1)
    assert len(episode.record().actions) == 0


class ShownTask(CountingTask):
    """Its snapshots are the numbers of its steps, and its pictures are as bright as that number."""

    def __init__(self, name, **options):
        super().__init__(name, **options)
        self.shown = []
        self.now = 0

    def _observe(self):
        self.now = len(self.actions)
        return super()._observe()

    def snapshot(self):
        return np.array([float(self.now)])

    def show(self, snapshot):
        self.now = int(snapshot[0])

    def render_large(self):
        self.shown.append(self.now)
        return np.full((64, 64, 3), 20 * self.now, np.uint8)


FilmableTask.register(ShownTask)


def filmed(steps, **task):
    made = ShownTask("a", max_steps=12, **task)
    episode = Episode(lambda name: made, EpisodeSettings(stop_when_done=True))
    episode.reset("a", "eval", 0)
    for number in range(steps):
        episode.published(number + 1)
        episode.step(ACTION, number + 1)
    return episode, made


def test_a_film_shows_the_episode_that_has_ended_and_leaves_the_world_where_it_was(tmp_path):
    episode, task = filmed(12)
    episode.film(tmp_path / "film.mp4")
    assert task.shown == list(range(13)) and task.now == 12
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "film.mp4"))
    assert frames >= 13, "a picture before each step, and the last one stands"


def test_a_film_ends_shortly_after_the_goal_holds_for_good(tmp_path):
    episode, task = filmed(12, succeeds_at=4)
    episode.film(tmp_path / "film.mp4")
    assert task.shown == list(range(4 + AFTER_SUCCESS_STEPS + 1)) and task.now == 12


def test_there_is_no_film_of_an_episode_that_goes_on_or_of_a_world_that_cannot_show_it(tmp_path):
    with pytest.raises(ValueError, match="no episode has ended"):
        filmed(3)[0].film(tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="cannot show what is over"):
        started().film(tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []
