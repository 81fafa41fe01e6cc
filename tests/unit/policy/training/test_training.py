import dataclasses
import json
import os
import signal
import sys
import traceback
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

import magma_policy
from magma_contracts.errors import ConfigError
from magma_policy.commands import train
from magma_policy.commands.train import check_same_command, main
from magma_policy.demonstrations.data_card import DataCard
from magma_policy.demonstrations.episode_file import DemonstrationError
from magma_policy.demonstrations.reader import gripper_onsets, is_held_out, read_demonstrations
from magma_policy.demonstrations.sources import list_episodes
from magma_policy.families.magma.config import TokenConfig
from magma_policy.families.magma.tokenizer import build_small_tokenizer
from magma_policy.inference.action_tokens import bin_centres_by_id
from magma_policy.marks.trace_of_mark import parse_traces
from magma_policy.training.answered_texts import answer_labels, encode, pad_left
from magma_policy.training.config import TextMixture
from magma_policy.training.loop import success
from magma_policy.training.loop.saved_run import FILE, SavedRunError
from magma_policy.training.recipes.robot_actions.augmentation import jitter
from magma_policy.training.recipes.robot_actions.losses import action_loss, heat_map_loss
from magma_policy.training.recipes.robot_actions.text_samples import TextSamples, vocabulary
from magma_policy.training.recipes.robot_actions.trainer import Trainer


@pytest.fixture
def pictures(write_set, held_out_names, tmp_path):
    return write_set(tmp_path / "pictures", held_out_names(2))


def test_reader_joins_sets_with_and_without_pictures(write_set, pictures, tmp_path):
    states = write_set(tmp_path / "states", ["spoon-1"], frames=False, seed=1)
    demos = read_demonstrations([pictures, states])
    assert len(demos) == 25
    assert demos.frames.shape == (20, 128, 128, 3)
    assert demos.frame_index.tolist() == [*range(20), *[-1] * 5]
    assert set(demos.instructions) == {"put the carrot on the plate", "put the spoon on the plate"}
    assert demos.marks.min() > 0.0 and demos.marks.max() < 1.0
    assert demos.onset.reshape(5, 5).tolist() == [[False, True, True, True, True]] * 5


def test_a_set_without_pictures_reads_but_cannot_train_the_vision_tower(write_set, held_out_names, small_run, tmp_path):
    states = write_set(tmp_path / "states", held_out_names(2), frames=False)
    demos = read_demonstrations([states])
    assert demos.frames.shape == (0, 128, 128, 3)
    with pytest.raises(ConfigError, match="no training episode has frames"):
        Trainer(small_run(tmp_path / "run", states))


def test_onsets_surround_the_flip():
    actions = np.zeros((8, 7))
    proprioception = np.zeros((8, 16))
    actions[:, 6] = [1, 1, 1, 1, 0, 0, 0, 0]
    proprioception[:, 15] = [1, 1, 1, 1, 1, 0, 0, 0]
    assert np.flatnonzero(gripper_onsets(actions, proprioception)).tolist() == [2, 3, 4, 5]


def test_bad_sets_are_refused_with_the_file_and_the_reason(write_set, pictures, tmp_path):
    with pytest.raises(DemonstrationError, match="no such data card"):
        DataCard.read(tmp_path / "nowhere")
    with pytest.raises(DemonstrationError, match="no episodes"):
        list_episodes(tmp_path / "nowhere")
    other = write_set(tmp_path / "other", ["spoon-1"])
    card = json.loads((other / "card.json").read_text())
    (other / "card.json").write_text(json.dumps(card | {"table_height_m": 0.1}))
    with pytest.raises(DemonstrationError, match="camera, table or clock differs"):
        read_demonstrations([pictures, other])
    (other / "card.json").write_text(json.dumps({k: v for k, v in card.items() if k != "image_size"}))
    with pytest.raises(DemonstrationError, match="image_size"):
        DataCard.read(other)
    path = next(iter((pictures / "episodes").glob("*.npz")))
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "actions": arrays["actions"][:, :6]})
    with pytest.raises(DemonstrationError, match="actions has shape"):
        read_demonstrations([pictures])
    np.savez(path, **{k: v for k, v in arrays.items() if k != "marks"})
    with pytest.raises(DemonstrationError, match="lacks"):
        read_demonstrations([pictures])
    np.savez(path, **{**arrays, "instruction": np.array(" ")})
    with pytest.raises(DemonstrationError, match="instruction is empty"):
        read_demonstrations([pictures])
    path.write_bytes(b"not an archive")
    with pytest.raises(DemonstrationError, match="cannot be read"):
        read_demonstrations([pictures])


def test_holding_out_goes_by_name_so_that_more_episodes_move_none():
    names = [f"carrot_on_plate-{i}.npz" for i in range(2000)]
    share = sum(is_held_out(n, 20) for n in names) / len(names)
    assert 0.03 < share < 0.07


def test_a_run_learns_saves_and_its_checkpoint_acts_and_answers(small_run, pictures, tmp_path):
    config = small_run(tmp_path / "run", pictures)
    trainer = Trainer(config)
    before = trainer.model.grounding.query.weight.clone()
    trainer.train_step()
    assert not torch.equal(before, trainer.model.grounding.query.weight)
    assert set(trainer.averages()) == {"marks", "action", "state", "text"}
    trainer.history["loss"].append({"step": 1, **trainer.averages()})
    trainer.report()
    trainer.save()
    assert (config.output / "loss.png").is_file()
    policy = magma_policy.load(config.output / "checkpoint", device="cpu")
    assert policy.spec.camera == "third_person"
    assert policy.robot().camera.plane_height_m == pytest.approx(0.02)
    policy.chat("What is on the table?", [np.zeros((128, 128, 3), dtype=np.uint8)])


def test_an_interrupted_run_goes_on_to_the_bit(small_run, pictures, tmp_path):
    whole = Trainer(small_run(tmp_path / "whole", pictures, accumulate=2))
    for _ in range(3):
        whole.train_step()
    first = Trainer(small_run(tmp_path / "run", pictures, accumulate=2))
    first.train_step()
    first.save()
    again = Trainer(small_run(tmp_path / "run", pictures, accumulate=2))
    assert again.restore() and again.step == 1
    for _ in range(2):
        again.train_step()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
        assert torch.equal(whole.average.tensors[name], again.average.tensors[name]), name


class Waiting(TorchDispatchMode):
    """Notes operations that read a value back from the device, or bring one there."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.name() in {"aten::_local_scalar_dense", "aten::nonzero", "aten::lift_fresh", "aten::is_nonzero"}:
            callers = [frame.name for frame in traceback.extract_stack() if "magma_policy" in frame.filename]
            self.found.append((function.name(), callers[-1]))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_need_nothing_from_the_cpu_so_that_a_gpu_can_record_them(
    small_run, pictures, tmp_path, checkpointing
):
    trainer = Trainer(small_run(tmp_path / "run", pictures, gradient_checkpointing=checkpointing))
    batch = trainer.draw(torch.Generator().manual_seed(0))
    trainer.add_gradients(batch, True)
    with Waiting() as waiting:
        trainer.add_gradients(batch, True)
    # The check of the prompts in `merge` is left out while a GPU records.
    assert {caller for _, caller in waiting.found} <= {"merge"}


def test_plain_magma_trains_without_marks_and_states(small_run, pictures, tmp_path):
    trainer = Trainer(small_run(tmp_path / "run", pictures, grounding=False, geometry="none"))
    trainer.train_step()
    assert set(trainer.averages()) == {"action", "text"}
    trainer.report()
    trainer.save()
    assert magma_policy.load(tmp_path / "run" / "checkpoint", device="cpu").robot().camera is None


def test_several_robots_share_a_model_and_keep_their_own_bounds_and_cameras(
    write_set, held_out_names, small_run, pictures, tmp_path, overhead
):
    moved = dataclasses.replace(
        overhead, extrinsics=(*overhead.extrinsics[:2], (0.0, 0.0, -1.0, 0.9), overhead.extrinsics[3])
    )
    other = write_set(tmp_path / "other", held_out_names(2), seed=2, robot="moved", camera=moved)
    config = small_run(tmp_path / "run", pictures, demonstrations=(pictures, other))
    trainer = Trainer(config)
    trainer.train_step()
    trainer.report()
    trainer.save()
    policy = magma_policy.load(config.output / "checkpoint", device="cpu")
    assert set(policy.robots) == {"", "moved"}
    assert policy.robot("moved").camera.centre[2] == pytest.approx(0.9)
    assert policy.robot("moved").statistics != policy.robot().statistics
    # Finetuned on other steps, each robot's bins keep their meaning.
    third = write_set(tmp_path / "third", held_out_names(2), seed=3, robot="moved", camera=moved)
    init = {"init": str(config.output / "checkpoint"), "statistics": "init"}
    tuned = Trainer(small_run(tmp_path / "tuned", pictures, demonstrations=(pictures, third), **init))
    assert [r.statistics for r in tuned.robots] == [policy.robot().statistics, policy.robot("moved").statistics]


def test_steps_count_as_much_as_their_weights_and_unknown_marks_teach_nothing(
    write_set, held_out_names, small_run, tmp_path
):
    marks = np.full((5, 4, 2), 64.0, dtype=np.float32)
    marks[:, :3] = np.nan
    weights = np.array([0, 0, 1, 0, 0], dtype=np.float32)
    recorded = write_set(tmp_path / "recorded", held_out_names(2), marks=marks, weights=weights)
    trainer = Trainer(small_run(tmp_path / "run", recorded))
    assert not trainer.train.has_states
    drawn = trainer.train.draw(50, True, torch.Generator().manual_seed(0))
    assert {int(row) % 5 for row in drawn} == {2}
    trainer.train_step()
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    assert set(trainer.averages()) == {"marks", "action", "text"}


@pytest.fixture
def evaluator(tmp_path, monkeypatch):
    """A stand-in for the program magma-eval: plays nothing, and writes what it is told to."""
    program = tmp_path / "magma-eval"

    def answers(*lines, status=0):
        text = "\n".join(json.dumps(line) for line in lines)
        program.write_text(
            f"#!{sys.executable}\nimport pathlib, sys\nprint('simulator says no')\n"
            f"if sys.argv[1] == 'list': sys.exit({status})\n"
            f"out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])\n"
            f"(out / 'arguments.txt').write_text(' '.join(sys.argv[1:]))\n"
            f"(out / 'results.jsonl').write_text({text!r})\nsys.exit({status})\n"
        )
        program.chmod(0o755)

    monkeypatch.setenv(success.COMMAND_VARIABLE, str(program))
    return answers


def played(task, succeeded, status="ok"):
    return {"key": {"task": task}, "status": status, "success": {"last": succeeded, "first": True, "ever": True}}


def test_success_is_counted_by_task_and_kept_with_the_run(small_run, pictures, tmp_path, evaluator):
    evaluator(played("carrot", True), played("spoon", True), played("carrot", False))
    config = small_run(tmp_path / "run", pictures, success_suites=("tabletop-validation",), success_episodes=2)
    trainer = Trainer(config)
    trainer.train_step()
    trainer.measure_success()
    trainer.measure_success()
    again = Trainer(config)
    again.restore()
    wanted = [
        {"step": 1, "suite": "tabletop-validation", "task": "carrot", "successes": 1, "episodes": 2},
        {"step": 1, "suite": "tabletop-validation", "task": "spoon", "successes": 1, "episodes": 1},
    ]
    assert again.history["success"] == wanted
    said = (config.output / "success" / "step-1" / "tabletop-validation" / "arguments.txt").read_text()
    assert said.startswith(f"run --suite tabletop-validation --policy magma:{config.output / 'checkpoint'} --limit 2")


def test_a_simulator_that_fails_does_not_end_the_training(small_run, pictures, tmp_path, evaluator, capsys):
    config = small_run(tmp_path / "run", pictures, success_suites=("tabletop-validation",))
    trainer = Trainer(config)
    for broken in (lambda: evaluator(status=3), lambda: evaluator(played("carrot", None, status="error"))):
        broken()
        trainer.measure_success()
    assert trainer.history["success"] == []
    shown = capsys.readouterr()
    assert "status 3 on tabletop-validation; it said: simulator says no" in shown.out + shown.err
    assert "ended in an error" in shown.out + shown.err


def test_success_without_an_evaluator_is_refused(monkeypatch):
    monkeypatch.delenv(success.COMMAND_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="install magma-sim"):
        success.find_evaluator()


def test_another_command_does_not_continue_the_run(small_run, pictures, tmp_path):
    check_same_command(small_run(tmp_path / "run", pictures))
    check_same_command(small_run(tmp_path / "run", pictures))
    with pytest.raises(ConfigError, match="learning_rate"):
        check_same_command(small_run(tmp_path / "run", pictures, learning_rate=1.0))


def command_line(monkeypatch, output, pictures, *more):
    """As a person types it."""
    words = ["--demonstrations", str(pictures), "--output", str(output), "--steps", "5", "--image-batch", "2"]
    words += ["--state-batch", "4", "--text-batch", "1", "--validation-every", "2", "--validation-samples", "4", *more]
    monkeypatch.setattr(sys, "argv", ["magma-train", *words])


def test_an_interrupted_command_says_how_to_go_on(pictures, tmp_path, monkeypatch, capsys):
    train_step = Trainer.train_step

    def interrupted(self):
        train_step(self)
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    command_line(monkeypatch, tmp_path / "a run", pictures)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    said = capsys.readouterr().out
    assert "interrupted at step 2 of 5" in said and f"To go on: magma-train --demonstrations {pictures}" in said
    assert f"--output '{tmp_path / 'a run'}'" in said
    monkeypatch.setattr(Trainer, "train_step", train_step)
    main()
    assert "continued at step 2" in capsys.readouterr().out


def test_a_start_that_fails_neither_claims_nor_overwrites_a_folder(pictures, tmp_path, monkeypatch):
    def refused(output, *more):
        command_line(monkeypatch, output, pictures, *more)
        with pytest.raises(SystemExit) as ended:
            main()
        return str(ended.value.code)

    assert "nowhere" in refused(tmp_path / "run", "--init", str(tmp_path / "nowhere"))
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refused(tmp_path / "file")
    (tmp_path / "theirs" / "checkpoint").mkdir(parents=True)
    assert "holds checkpoint, but of no training run" in refused(tmp_path / "theirs")
    assert (tmp_path / "file").read_text() == "mine" and list((tmp_path / "theirs").iterdir()) == [
        tmp_path / "theirs" / "checkpoint"
    ]


def test_what_a_run_needs_is_looked_at_before_a_model_is_fetched_or_built(pictures, tmp_path, monkeypatch, evaluator):
    def built(*_):
        pytest.fail("a model was fetched or built")

    monkeypatch.setattr(train, "StartingPoint", SimpleNamespace(of=built))

    def refused(demonstrations, *more):
        command_line(monkeypatch, tmp_path / "run", demonstrations, *more)
        with pytest.raises(SystemExit) as ended:
            main()
        assert not (tmp_path / "run").exists()
        return str(ended.value.code)

    for more in ((), ("--dry-run",)):
        assert "no such data card" in refused(tmp_path / "nowhere", *more)
    evaluator(status=2)
    assert "refuses 'tabletop-validatoin'" in refused(pictures, "--success-suites", "tabletop-validatoin")


def test_a_run_of_another_model_is_refused(small_run, pictures, tmp_path):
    trainer = Trainer(small_run(tmp_path / "run", pictures))
    trainer.save()
    path = tmp_path / "run" / "training" / FILE
    tensors = load_file(str(path))
    del tensors["model/grounding.query.bias"]
    save_file(tensors, str(path), {"scalars": "{}"})
    with pytest.raises(SavedRunError, match=r"(?s)another model.*grounding\.query\.bias"):
        trainer.restore()
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(SavedRunError, match="not a saved run"):
        trainer.restore()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("validation_every", 1),
        ("ema_decay", 1.0),
        ("text_batch", 3),
        ("grounding", False),
    ],
)
def test_bad_settings_are_refused(small_run, name, value, tmp_path):
    with pytest.raises(ConfigError, match=name):
        small_run(tmp_path, tmp_path, **{name: value})


def test_jitter_keeps_type_and_differs():
    images = torch.full((2, 8, 8, 3), 128, dtype=torch.uint8)
    out = jitter(images, torch.Generator().manual_seed(0))
    assert out.dtype == torch.uint8
    assert not torch.equal(out[0], out[1])


def test_heat_map_loss_is_lowest_at_the_mark_and_ignores_marks_outside():
    target = torch.tensor([[[0.5, 0.25]]])
    grid = (torch.arange(32) + 0.5) / 32

    def loss(x, y):
        logits = -(((grid[None, :] - x) * 32) ** 2 + ((grid[:, None] - y) * 32) ** 2)[None, None] / 2
        return float(heat_map_loss(logits, torch.tensor([[[x, y]]]), target, 1.0))

    assert loss(0.5, 0.25) < loss(0.6, 0.25)
    assert loss(0.5, 0.25) < loss(0.25, 0.5)
    outside = torch.tensor([[[1.5, 0.25]]])
    assert float(heat_map_loss(torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 2), outside, 1.0)) == 0.0


def test_action_loss_is_lowest_at_the_value_and_never_teaches_the_first_id():
    centres = torch.tensor(bin_centres_by_id(), dtype=torch.float32)
    values = torch.tensor([[0.3, -1.0, 1.0, 0.0, 0.0, 0.0, 1.0]])

    def loss(guess):
        logits = -(((centres - guess[..., None]) / 0.02) ** 2)
        return float(action_loss(logits, values, centres, 2.0, 5.0))

    assert loss(values) < loss(values + 0.05)
    assert loss(values) < loss(values - 0.05)
    logits = torch.zeros(1, 7, 256, requires_grad=True)
    action_loss(logits, values, centres, 2.0, 0.0).backward()
    assert (logits.grad[..., 0] > 0).all()


@pytest.fixture
def scene(write_set, tmp_path):
    """An episode in which the second mark moves by two pixels a step and nothing else does."""
    marks = np.full((12, 4, 2), 64.0, dtype=np.float32)
    marks[:, 1, 0] += 2.0 * np.arange(12)
    return read_demonstrations([write_set(tmp_path / "scene", ["carrot-1"], steps=12, marks=marks)])


def test_marks_and_traces_are_asked_and_answered_as_magma_does(scene):
    samples = TextSamples(scene, TextMixture())
    assert (
        samples.marks(0).answer == "Mark 1 at [128,128]. Mark 2 at [128,128]. Mark 3 at [128,128]. Mark 4 at [128,128]."
    )
    trace = samples.traces(0)
    assert "numeric marks [2]" in trace.question and "with speed 4" in trace.question
    parsed = parse_traces(trace.answer)
    assert parsed.futures[2].tolist() == [[128 + 4 * k, 128] for k in range(1, 9)]
    assert samples.traces(4) is None, "the episode ends before the trace does"


def test_questions_about_the_scene_have_true_answers(scene):
    samples = TextSamples(scene, TextMixture())
    asked = {sample.question.split("?")[0]: sample.answer for die in range(8) if (sample := samples.question(0, die))}
    assert asked == {
        "What is on the table": "A carrot.",
        "Is there a carrot on the table": "Yes.",
        "Where is the carrot": "At [128,128].",
        "What colour is the carrot": "Orange.",
    }


def test_only_the_answer_is_taught_and_numbers_are_single_tokens(scene):
    tokenizer = build_small_tokenizer(TokenConfig.magma_layout(1152), vocabulary(scene))
    samples = TextSamples(scene, TextMixture())
    for number in (0, 7, 42, 199, 256):
        assert len(tokenizer.encode(str(number))) == 2, "begin-of-text and the number"
    rows, lengths = encode([samples.marks(0), samples.question(0, 0)], tokenizer, True)
    ids, _ = pad_left(rows, tokenizer.tokens.pad, torch.device("cpu"))
    labels = answer_labels(ids, lengths)
    taught = [tokenizer.decode([id_ for id_ in row.tolist() if id_ >= 0]) for row in labels]
    assert taught == [samples.marks(0).answer, "A carrot."]
    assert (labels[:, -1] == tokenizer.tokens.end_of_turn).all()
