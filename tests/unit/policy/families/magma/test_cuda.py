"""On a CUDA GPU: the same answers as on the CPU, captured graphs without effect on results, training that learns."""

from pathlib import Path

import numpy as np
import pytest
import torch

import magma_policy
from magma_policy.families.interface import ActRequest, GenerationSettings, Message, Proprioception
from magma_policy.inference.generation import generate_ids
from magma_policy.inference.static_decoder import StaticDecoders
from magma_policy.training.recipes.robot_actions.augmentation import jitter
from magma_policy.training.recipes.robot_actions.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU"),
]

SHIPPED = Path(__file__).parents[5] / "policy" / "checkpoints" / "magma-tiny"
INSTRUCTION = "put the carrot on the plate"
PLACE, DOWN = np.array([0.45, 0.0, 0.2]), np.array([1.0, 0.0, 0.0, 0.0])
STATE = Proprioception(PLACE, DOWN, PLACE, DOWN, 1.0, 1.0)


@pytest.fixture(scope="module", autouse=True)
def exact_products():
    """Float32 products in float32, so that the two devices may be held against each other."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def frames(count, size=128):
    return list(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def logits(directory, device, **options):
    policy = magma_policy.load(directory, device=device, **options)
    inputs = policy.processor([Message("What is this?", frames(1, 64))])
    pixels = inputs.pixel_values.to(device, policy.model.language_model.model.norm.weight.dtype)
    with torch.inference_mode():
        return policy.model(inputs.input_ids.to(device), pixels, inputs.image_sizes).float().cpu()


def test_actions_are_those_of_the_cpu():
    # Ids may differ where two bins are within rounding of each other, so nearly all of them must agree.
    on_cpu = magma_policy.load(SHIPPED, device="cpu", dtype="float32")
    on_gpu = magma_policy.load(SHIPPED, device="cuda", dtype="float32")
    pairs = [(on_cpu.act(f, INSTRUCTION, STATE).ids, on_gpu.act(f, INSTRUCTION, STATE).ids) for f in frames(20)]
    off = np.concatenate([np.abs(a - b) for a, b in pairs])
    assert (off == 0).mean() > 0.95
    assert off.max() <= 2


def test_logits_are_those_of_the_cpu(wide_checkpoint):
    expected, found = (logits(wide_checkpoint, device, dtype="float32") for device in ("cpu", "cuda"))
    assert (found - expected).abs().max() < 1e-3 * expected.std()


def test_fp8_computes_what_the_cpu_computes(wide_checkpoint):
    plain = logits(wide_checkpoint, "cuda", dtype="bfloat16")
    on_cpu, on_gpu = (logits(wide_checkpoint, device, quantization="fp8") for device in ("cpu", "cuda"))
    assert (on_gpu - plain).std() < 0.12 * plain.std()
    assert (on_gpu - on_cpu).std() < 0.05 * plain.std()


def test_a_replayed_graph_decodes_as_the_steps_do(wide_checkpoint, monkeypatch):
    policy = magma_policy.load(wide_checkpoint, device="cuda", dtype="float32")
    recorded = [policy.chat("What is this?", [f]).text for f in frames(3, 64)]
    monkeypatch.setattr(
        "magma_policy.inference.static_decoder.StaticDecoder._run", lambda self, _, work: work(self.length)
    )
    stepwise = magma_policy.load(wide_checkpoint, device="cuda", dtype="float32")
    assert [stepwise.chat("What is this?", [f]).text for f in frames(3, 64)] == recorded


def test_a_graph_serves_prompts_of_different_lengths(wide_checkpoint):
    policy = magma_policy.load(wide_checkpoint, device="cuda", dtype="float32")
    decoders = StaticDecoders(policy.model)
    settings = GenerationSettings(max_new_tokens=12)

    def text(prompt, lent):
        ids = torch.tensor([policy.tokenizer.encode(prompt)], device="cuda")
        with torch.inference_mode():
            positions = torch.arange(ids.shape[1], device="cuda")[None]
            _, prefix = policy.model.read(policy.model.embed(ids), positions, None)
        return list(generate_ids(policy.model, prefix, settings, (-1,), lent))

    prompts = ["one", "a longer one than the first", "one"]
    together = [text(prompt, decoders) for prompt in prompts]
    alone = [text(prompt, StaticDecoders(policy.model)) for prompt in prompts]
    assert together == alone
    assert together[0] == together[2] != together[1]


def test_a_batch_acts_as_its_rows_do_alone():
    policy = magma_policy.load(SHIPPED, device="cuda", dtype="float32")
    pictures = frames(5)
    alone = [policy.act(f, INSTRUCTION, STATE).ids for f in pictures]
    requests = [ActRequest(f, INSTRUCTION, STATE, policy.new_session()) for f in pictures]
    off = np.abs(np.stack([r.ids for r in policy.act_batch(requests)]) - np.stack(alone))
    assert (off == 0).mean() > 0.95
    assert off.max() <= 2


def test_jitter_follows_from_the_cpu_generator():
    pictures = torch.full((2, 16, 16, 3), 128, dtype=torch.uint8, device="cuda")
    once, again = (jitter(pictures, torch.Generator().manual_seed(3)) for _ in range(2))
    assert once.device.type == "cuda" and once.dtype == torch.uint8
    assert torch.equal(once, again)
    assert not torch.equal(once, jitter(pictures, torch.Generator().manual_seed(4)))
    assert not torch.equal(once[0], once[1])


def state_loss(trainer):
    """Of samples that are the same on every device; sensor noise is drawn where the pictures are."""
    rows = trainer.train.rows[:8]
    states = trainer._samples(rows, trainer.train.marks[rows])
    with torch.no_grad():
        return float(trainer.objective._state_loss(states, trainer.model.read_head(trainer.prompts.head)))


def test_training_begins_with_the_losses_of_the_cpu_and_learns(write_set, held_out_names, small_run, tmp_path):
    pictures = write_set(tmp_path / "pictures", held_out_names(3))
    on_cpu, trainer = (
        Trainer(small_run(tmp_path / device, pictures, device=device, steps=40, learning_rate=1e-3))
        for device in ("cpu", "cuda")
    )
    before = state_loss(trainer)
    assert before == pytest.approx(state_loss(on_cpu), rel=1e-3)
    for _ in range(40):
        trainer.train_step()
    assert state_loss(trainer) < before
    trainer.report()
    trainer.save()
    acting = magma_policy.load(tmp_path / "cuda" / "checkpoint", device="cuda")
    assert acting.act(frames(1)[0], INSTRUCTION, STATE).ids.shape == (7,)


@pytest.mark.parametrize(
    "changes", [{}, {"accumulate": 2}, {"precision": "bfloat16"}, {"gradient_checkpointing": True}]
)
def test_recorded_gradients_train_as_computed_ones_do(write_set, held_out_names, small_run, tmp_path, changes):
    pictures = write_set(tmp_path / "pictures", held_out_names(3))
    averages, weights = [], []
    for graphs in (True, False):
        changes = {"device": "cuda", "steps": 20, "marks_fraction": 0.3, **changes}
        trainer = Trainer(small_run(tmp_path / f"{graphs}", pictures, graphs=graphs, **changes))
        for _ in range(12):
            trainer.train_step()
        averages.append(trainer.averages())
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    # Sums on a GPU are added in another order every time.
    assert averages[0] == pytest.approx(averages[1], rel=0.02)
    moved = (weights[0] - weights[1]).abs().mean()
    assert moved < 0.02 * weights[1].abs().mean()
