"""Numbers that mean nothing never become an action or a text: on every path, for every weight, for that robot alone."""

import copy
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from magma_contracts.actions import DELTA_SIZE
from magma_policy.embodiments.robots import Robot
from magma_policy.errors import CheckpointError, NotFiniteError
from magma_policy.families.interface import ActRequest, GenerationSettings, Message
from magma_policy.families.magma import checkpoint, published_files
from magma_policy.families.magma.checkpoint import Checkpoint
from magma_policy.families.magma.policy import Policy
from magma_policy.families.magma.tokenizer import build_small_tokenizer
from magma_policy.files import weight_files
from magma_policy.inference.action_decoding import decode_action_ids
from magma_policy.inference.action_tokens import NUM_BINS
from magma_policy.inference.finite import REFUSED_ID, can_choose
from magma_policy.inference.sampler import Sampler
from magma_policy.inference.static_decoder import StaticDecoder
from magma_policy.serving.batching import Batcher
from tests.unit.policy.conftest import OVERHEAD, STATISTICS, spec_of
from tests.unit.policy.families.magma.test_acting import HOME

CPU = torch.device("cpu")
WORDS = "put the carrot on the plate"


def frame(seed):
    return np.random.default_rng(seed).integers(0, 256, (128, 128, 3), dtype=np.uint8)


def policy_of(model):
    camera = OVERHEAD if model.config.geometry else None
    known = {"": Robot(spec_of(model.config), STATISTICS, camera)}
    return Policy(Checkpoint(model, build_small_tokenizer(model.config.tokens), known, (0,)), CPU)


def act(policy, seed=0):
    return policy.act(frame(seed), WORDS, HOME if policy.spec.proprioception else None)


def test_what_can_be_chosen_from():
    fine = torch.linspace(-3, 3, 256)
    rows = [fine]
    for bad in (float("nan"), float("inf"), -float("inf")):
        for place in (0, 100, 255):
            rows.append(fine.clone().index_fill_(0, torch.tensor([place]), bad))
    rows += [torch.zeros(256), torch.full((256,), -7.5), torch.full((256,), float("nan"))]
    assert can_choose(torch.stack(rows)).tolist() == [True] + [False] * (len(rows) - 1)
    assert can_choose(torch.stack(rows).reshape(-1, 1, 256)).shape == (len(rows), 1)


@pytest.mark.parametrize("which", ["plain", "tiny"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_weight_acts_silently(which, value, plain_model, tiny_model):
    """One such number in any tensor: an error, or, where the number is never used, the action of the sound model."""
    model = copy.deepcopy(plain_model if which == "plain" else tiny_model)
    sound = act(policy_of(model)).ids.tolist()
    told = 0
    for name, weight in model.named_parameters():
        before = weight.data.flatten()[weight.numel() // 2].clone()
        weight.data.flatten()[weight.numel() // 2] = value
        try:
            policy = policy_of(model)
            assert [act(policy).ids.tolist(), act(policy).ids.tolist()] == [sound, sound], f"{name} was acted on"
        except NotFiniteError:
            told += 1
        weight.data.flatten()[weight.numel() // 2] = before
    assert told > 0.9 * len(list(model.parameters()))
    assert act(policy_of(model)).ids.tolist() == sound


def test_finite_weights_that_overflow_are_told(plain_model):
    # Squares of such numbers overflow in the norm, which divides by them: what comes out are zeros, and equal logits.
    model = copy.deepcopy(plain_model)
    model.language_model.model.embed_tokens.weight.data *= 1e30
    with pytest.raises(NotFiniteError, match=r"plain computed logits in float32"):
        act(policy_of(model))
    half = copy.deepcopy(plain_model).to(torch.float16)
    half.multi_modal_projector.proj[2].weight.data.fill_(60000.0)
    with pytest.raises(NotFiniteError, match=r"float16.* load it with dtype bfloat16 or float32"):
        act(policy_of(half))


def spoil_white_corners(policy):
    """Spoils what the tower sees of pictures that are white in one corner, as an overflow inside it would."""

    def spoil(_, inputs, levels):
        levels[-1][inputs[0][:, :, 0, 0].amin(dim=1) > 1.9] = float("nan")
        return levels

    policy.model.vision_tower.register_forward_hook(spoil)


def white(seed):
    picture = frame(seed)
    picture[:8, :8] = 255
    return picture


def test_only_the_robot_whose_numbers_mean_nothing_is_refused(plain_model):
    policy = policy_of(copy.deepcopy(plain_model))
    spoil_white_corners(policy)
    alone = [act(policy_of(plain_model), seed).ids.tolist() for seed in range(3)]
    sessions = [policy.new_session() for _ in range(4)]
    pictures = [frame(0), white(1), frame(1), frame(2)]
    batcher = Batcher(policy, 4, 10.0, 16)
    try:
        for _ in range(2):  # the second time with a guess
            asked = [
                batcher.submit(row, ActRequest(picture, WORDS, None, session), 1e9)
                for row, (picture, session) in enumerate(zip(pictures, sessions, strict=True))
            ]
            with pytest.raises(NotFiniteError):
                asked[1].result(60)
            assert [asked[row].result(60).result.ids.tolist() for row in (0, 2, 3)] == alone
            assert sessions[1].last_ids is None
    finally:
        batcher.stop(10)


@pytest.mark.parametrize("guess", [False, True])
def test_ids_and_verdict_come_together(plain_model, guess):
    """One by one, behind a guess and over the fixed cache: seven refused ids for that row, the others' unchanged."""
    model, config = plain_model, plain_model.config
    ids = torch.randint(0, 256, (3, 12))
    with torch.inference_mode():
        _, prefix = model.read(model.embed(ids), torch.arange(12).expand(3, -1), None)
        sound = decode_action_ids(model, prefix)
        prefix.last_hidden[1, 3] = float("nan")
        drafted = sound if guess else None
        found = decode_action_ids(model, prefix, None, drafted)
        assert found[1].tolist() == [REFUSED_ID] * DELTA_SIZE
        assert torch.equal(found[[0, 2]], sound[[0, 2]])
        decoder = StaticDecoder(model, 3, 128)
        decoder.load(prefix)
        assert torch.equal(decoder.action_ids(), found)
    assert int(sound.min()) >= config.tokens.base_vocab_size - NUM_BINS


def test_a_recorded_decoder_forgets_the_numbers_of_its_last_prompt(plain_model, monkeypatch):
    # As a recording runs: over the whole cache, whatever the length of the prompt.
    monkeypatch.setattr(StaticDecoder, "_run", lambda self, _, work: work(self.capacity))
    model = plain_model
    with torch.inference_mode():
        prefixes = []
        for length in (60, 20):
            ids = torch.arange(length)[None] + 40
            prefixes.append(model.read(model.embed(ids), torch.arange(length)[None], None)[1])
        long, short = prefixes
        expected = decode_action_ids(model, short)
        for keys, values in long.cache:
            keys[:, :, 30:] = float("nan")
            values[:, :, 30:] = float("inf")
        decoder = StaticDecoder(model, 1, 128)
        decoder.load(long)
        assert (decoder.action_ids() == REFUSED_ID).all()
        decoder.load(short)
        assert torch.equal(decoder.action_ids(), expected)
        decoder.load(long)
        decoder.logits_after(torch.tensor([50]))
        decoder.load(short)
        assert can_choose(decoder.logits_after(torch.tensor([50]))).all()


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_text_ends_with_the_error(plain_model, temperature):
    model = copy.deepcopy(plain_model)
    policy, settings = policy_of(model), GenerationSettings(12, temperature, seed=1)
    assert policy.chat("Hello", (), settings).ids
    model.language_model.lm_head.weight.data[700, 2] = float("nan")
    with pytest.raises(NotFiniteError):
        policy.generate([Message("Hello"), Message("What is this?", [frame(0)])], settings)
    with pytest.raises(NotFiniteError):
        list(policy.stream("Hello", (), settings))


def test_ids_are_drawn_for_the_other_rows():
    logits = torch.randn(3, 50)
    logits[1, 7] = float("nan")
    for settings in (GenerationSettings(), GenerationSettings(temperature=1.0, top_k=5, top_p=0.9, seed=0)):
        drawn = Sampler(settings, CPU).choose(logits).tolist()
        assert drawn[1] == REFUSED_ID and min(drawn[0], drawn[2]) >= 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38, -1e6])
def test_weights_are_looked_at_on_the_way_in(tmp_path, plain_config, plain_model, value):
    state = {name: tensor.clone() for name, tensor in plain_model.state_dict().items()}
    name = "language_model.model.layers.1.mlp.up_proj.weight"
    state[name][3, 5] = value
    tokenizer = build_small_tokenizer(plain_config.tokens)
    # As another tool writes them: ours would not.
    sound = plain_model.state_dict()
    published_files.write(tmp_path / "c", sound, plain_config, tokenizer, torch.float32)
    (tmp_path / "c" / weight_files.INDEX).unlink()
    (tmp_path / "c" / "model-00001-of-00001.safetensors").unlink()
    save_file(state, tmp_path / "c" / checkpoint.WEIGHTS)
    shown = f"{value:g}"
    with pytest.raises(
        CheckpointError, match=f"{re.escape(name)} is not finite in float16: it holds {re.escape(shown)}"
    ) as told:
        checkpoint.load(tmp_path / "c", CPU, torch.float16)
    assert ("bfloat16" in str(told.value)) == (abs(value) < float("inf"))
    if abs(value) < float("inf"):
        checkpoint.load(tmp_path / "c", CPU, None)
        checkpoint.load(tmp_path / "c", CPU, torch.bfloat16)
    else:
        with pytest.raises(CheckpointError, match="take another"):
            checkpoint.load(tmp_path / "c", CPU, None)


@pytest.mark.parametrize(("value", "dtype"), [(float("nan"), torch.float32), (1e6, torch.float16)])
def test_what_is_not_finite_is_not_written(tmp_path, plain_config, plain_model, value, dtype):
    state = {name: tensor.clone() for name, tensor in plain_model.state_dict().items()}
    tokenizer = build_small_tokenizer(plain_config.tokens)
    known = {"": Robot(spec_of(plain_config), STATISTICS)}
    checkpoint.save(tmp_path / "own", state, plain_config, tokenizer, known, dtype)
    before = (tmp_path / "own" / checkpoint.WEIGHTS).read_bytes()
    state["language_model.model.norm.weight"][1] = value
    with pytest.raises(CheckpointError, match=r"not written: tensor language_model\.model\.norm\.weight is not finite"):
        checkpoint.save(tmp_path / "own", state, plain_config, tokenizer, known, dtype)
    assert (tmp_path / "own" / checkpoint.WEIGHTS).read_bytes() == before
    with pytest.raises(CheckpointError, match="not written"):
        published_files.write(tmp_path / "new", state, plain_config, tokenizer, dtype)
    assert not (tmp_path / "new").exists()
