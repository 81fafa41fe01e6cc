"""Acting: several robots in one batch, sessions, and the ways to decode seven ids."""

import copy
import dataclasses
import os
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import magma_policy
from magma_contracts.actions import DELTA_SIZE
from magma_contracts.errors import ConfigError
from magma_policy.embodiments.action_normalization import ActionStatistics
from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.robots import Robot
from magma_policy.errors import InstructionError, ObservationError
from magma_policy.families.interface import ActRequest, Proprioception
from magma_policy.families.magma.checkpoint import Checkpoint
from magma_policy.families.magma.policy import Policy
from magma_policy.families.magma.projector import visual_token_count
from magma_policy.families.magma.prompt import robot_prompt
from magma_policy.families.magma.tokenizer import build_small_tokenizer
from magma_policy.inference.action_decoding import decode_action_ids
from magma_policy.inference.action_tokens import ActionTokens
from magma_policy.inference.device import pick_device, pick_dtype
from magma_policy.inference.static_decoder import StaticDecoder, round_up
from magma_policy.serving.batching import Batcher

CPU = torch.device("cpu")
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
HOME = Proprioception(np.array([0.45, 0.0, 0.2]), DOWN, np.array([0.45, 0.0, 0.2]), DOWN, 1.0, 1.0)
TASKS = ("go", "pick up the green block and then put it on the yellow block", "open the drawer", "stack it")
CASES = int(os.environ.get("MAGMA_PROPERTY_CASES", "5"))
# Frames for the comparison of decoders; MAGMA_DECODING_FRAMES=2000 for the long run.
FRAMES = int(os.environ.get("MAGMA_DECODING_FRAMES", "6"))


def frame(seed, height=64, width=64):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def policy_of(model, adapter="deltas", height=64, width=64):
    spec = ActionSpec(
        "plain", 1, 0.2, "base", "axis_angle", "absolute_open_1", "x", "third_person", height, width, False, adapter
    )
    bounds = ActionStatistics((-0.05,) * 6 + (0.0,), (0.05,) * 6 + (1.0,), (True,) * 6 + (False,))
    tokenizer = build_small_tokenizer(model.config.tokens)
    return Policy(Checkpoint(model, tokenizer, {"": Robot(spec, bounds)}, (model.config.tokens.end_of_turn,)), CPU)


@pytest.fixture
def policy(plain_model):
    return policy_of(plain_model)


def test_ids_and_deltas_belong_together(policy):
    result = policy.act(frame(0), "go", None)
    codec = ActionTokens(policy.model.config.tokens.base_vocab_size)
    values = codec.decode(result.ids)
    assert result.deltas[0, :6] == pytest.approx(values[:6] * 0.05)
    assert result.deltas[0, 6] == np.clip(values[6], 0, 1)
    assert result.simpler is None


@pytest.mark.parametrize("size", [(64, 64), (64, 200), (150, 150)])
def test_each_robot_of_a_batch_acts_as_if_alone(plain_model, size):
    policy = policy_of(plain_model, "deltas", *size)
    requests = [ActRequest(frame(n, *size), task) for n, task in enumerate(TASKS)]
    together = policy.act_batch(requests)
    for request, result in zip(requests, together, strict=True):
        policy.reset()
        alone = policy.act(request.image, request.instruction, None)
        assert np.array_equal(alone.ids, result.ids)
        assert np.array_equal(alone.deltas, result.deltas)


# Robots of one checkpoint. Several pairs of sizes have equally many tiles in another arrangement.
SIZES = ((64, 64), (64, 128), (128, 64), (64, 192), (192, 64), (64, 256), (256, 64), (128, 128), (150, 150), (90, 200))
ADAPTERS = ("deltas", "widowx", "google_robot")
ROBOTS = [(adapter, *size) for adapter in ADAPTERS for size in SIZES]


@pytest.fixture(scope="module")
def fleet(plain_model):
    """A policy that knows all of `ROBOTS`, and a batcher in front of it that takes up to six at once."""
    single = policy_of(plain_model)
    known = {"": single.robot()}
    for name, (adapter, height, width) in enumerate(ROBOTS):
        spec = dataclasses.replace(single.spec, adapter=adapter, image_height=height, image_width=width)
        known[str(name)] = dataclasses.replace(single.robot(), spec=spec)
    policy = Policy(Checkpoint(plain_model, single.tokenizer, known, (0,)), CPU)
    batcher = Batcher(policy, 6, 10.0, 64)
    yield policy, batcher
    assert batcher.stop(60)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(range(len(ROBOTS))),
            st.sampled_from(TASKS) | st.text("abc äπ€😀 ", min_size=1, max_size=40).filter(str.strip),
            st.integers(0, 3),
        ),
        min_size=6,
        max_size=6,
    )
)
@settings(max_examples=CASES, deadline=None)
def test_whatever_is_asked_together_is_answered_as_if_alone(fleet, asked):
    """Any mix of robots, pictures and words through the server's batcher, in an episode's first step and its next."""
    policy, batcher = fleet
    together, alone = ([policy.new_session(str(robot)) for robot, _, _ in asked] for _ in range(2))
    for step in range(2):
        frames = [frame(seed + step, *ROBOTS[robot][1:]) for robot, _, seed in asked]
        futures = [
            batcher.submit(row, ActRequest(picture, words, None, session), time.monotonic() + 600)
            for row, (picture, (_, words, _), session) in enumerate(zip(frames, asked, together, strict=True))
        ]
        answers = [future.result(600) for future in futures]
        assert {answer.batch_size for answer in answers} == {6}
        for answer, picture, (_, words, _), session in zip(answers, frames, asked, alone, strict=True):
            (expected,) = policy.act_batch([ActRequest(picture, words, None, session)])
            assert np.array_equal(answer.result.ids, expected.ids)
            assert np.array_equal(answer.result.deltas, expected.deltas)
            assert (answer.result.simpler is None) == (expected.simpler is None)
            assert expected.simpler is None or np.array_equal(answer.result.simpler, expected.simpler)


def test_pictures_of_equally_many_tiles_are_each_laid_out_by_its_own_grid(fleet):
    policy, _ = fleet
    wide, high = (policy.new_session(str(ROBOTS.index(("deltas", *size)))) for size in ((64, 128), (128, 64)))
    seen = []
    handle = policy.model.multi_modal_projector.register_forward_hook(lambda _, given, __: seen.append(given[1:]))
    policy.act_batch([ActRequest(frame(0, 64, 128), "go", None, wide), ActRequest(frame(1, 128, 64), "go", None, high)])
    handle.remove()
    assert seen == [(1, 2), (2, 1)]


@pytest.mark.parametrize("words", ["🙂" * 240, "ab cd " * 80, "put " * 127 + "put"])
def test_words_that_are_too_many_tokens_are_refused(plain_model, words):
    """By tokens, not by characters: what does not fit the model's positions, and nothing else."""
    policy = policy_of(plain_model)
    limit, own = plain_model.config.text.max_position_embeddings, DELTA_SIZE
    prompt = policy.tokenizer.encode(robot_prompt(words, plain_model.config.image_markers))
    total = len(prompt) - 1 + visual_token_count(1, 1, plain_model.config.cells_per_tile) + own
    if total > limit:
        for request in (ActRequest(frame(0), words), ActRequest(frame(0), words, None, policy.new_session())):
            with pytest.raises(InstructionError, match=rf"reads {limit}.* fewer words"):
                policy.act_batch([request])
    else:
        assert policy.act(frame(0), words, None).deltas.shape == (1, 7)


def test_the_longest_prompt_that_is_taken_is_one_that_can_be_read(plain_model):
    policy = policy_of(plain_model)
    taken = 0
    for count in range(60, 240):
        try:
            policy.check(ActRequest(frame(0), "🙂" * count))
        except InstructionError:
            break
        taken = count
    assert 60 < taken < 239, "the limit lies in between"
    assert policy.act(frame(0), "🙂" * taken, None).ids.shape == (7,)


def test_a_batch_of_the_small_model_with_its_marks_and_states(tiny_checkpoint):
    policy = magma_policy.load(tiny_checkpoint, device="cpu")
    rng = np.random.default_rng(5)
    requests = []
    for n, task in enumerate(TASKS):
        state = Proprioception(rng.uniform(0.2, 0.6, 3), DOWN, rng.uniform(0.2, 0.6, 3), DOWN, 1.0, float(n % 2))
        requests.append(ActRequest(frame(n, 128, 128), task, state))
    together = policy.act_batch(requests)
    for request, result in zip(requests, together, strict=True):
        alone = policy.act(request.image, request.instruction, request.proprioception)
        assert np.array_equal(alone.ids, result.ids)
        assert result.marks == pytest.approx(alone.marks, abs=1e-3)


def test_a_bad_request_stops_the_batch_before_it_starts(policy):
    good = policy.new_session()
    with pytest.raises(ObservationError, match=r"shape \(64, 64, 3\)"):
        policy.act_batch([ActRequest(frame(0), "go", None, good), ActRequest(frame(0, 32, 64), "go")])
    assert good.last_ids is None
    with pytest.raises(InstructionError, match="empty"):
        policy.check(ActRequest(frame(0), " "))
    with pytest.raises(ObservationError, match="once only"):
        policy.act_batch([ActRequest(frame(0), "go", None, good), ActRequest(frame(1), "go", None, good)])
    with pytest.raises(ObservationError, match="at least one"):
        policy.act_batch([])


def test_sessions_keep_their_grippers_apart(plain_model, monkeypatch):
    policy = policy_of(plain_model, "google_robot")
    openings = iter([0.9, 0.9, 0.9, 0.0, 0.0, 0.9])
    monkeypatch.setattr(policy._codec, "decode", lambda ids: np.array([0, 0, 0, 0, 0, 0, next(openings)]))
    first, second = policy.new_session(), policy.new_session()
    commands = []
    for _ in range(3):
        results = policy.act_batch([ActRequest(frame(0), "go", None, s) for s in (first, second)])
        commands.append([r.simpler[6] for r in results])
    # One closes in its second step and goes on closing; the other opens and closes again.
    assert commands == [[0.0, 0.0], [0.0, 0.9], [0.9, 0.9]]
    first.reset()
    assert first.last_ids is None
    monkeypatch.setattr(policy._codec, "decode", lambda ids: np.array([0, 0, 0, 0, 0, 0, 0.9]))
    assert policy.act_batch([ActRequest(frame(0), "go", None, first)])[0].simpler[6] == 0.0


def test_reset_forgets_the_last_episode(policy):
    first = policy.act(frame(0), "go", None)
    policy.act(frame(1), "open the drawer", None)
    policy.reset()
    assert np.array_equal(policy.act(frame(0), "go", None).ids, first.ids)


def test_all_ways_of_decoding_give_the_same_ids(policy):
    """One by one over a growing cache, from drafts good and bad, and over the cache of fixed size."""
    model = policy.model
    rng = np.random.default_rng(1)
    last = None
    for n in range(FRAMES):
        ids, attention = policy._pad([policy._split(TASKS[(n + k) % len(TASKS)])[1] for k in range(2)])
        tiles = torch.from_numpy(rng.standard_normal((2, 3, 64, 64), dtype=np.float32))
        with torch.inference_mode():
            visual, levels = model.encode_image(tiles, 1, 1)
            prefix, _ = model.prefill(ids, visual, levels, attention, policy._head)
        expected = decode_action_ids(model, prefix)
        anything = torch.from_numpy(rng.integers(model.first_action_id, 768, (2, DELTA_SIZE)))
        for draft in (anything, expected, expected if last is None else last):
            assert torch.equal(decode_action_ids(model, prefix, None, draft), expected)
        decoder = StaticDecoder(model, 2, round_up(prefix.length + DELTA_SIZE))
        decoder.load(prefix)
        assert torch.equal(decoder.action_ids(), expected)
        last = expected


def test_a_good_guess_takes_one_pass_and_a_bad_one_no_more_than_none(policy, monkeypatch):
    model = policy.model
    passes = []
    extend = model.extend
    monkeypatch.setattr(
        model, "extend", lambda tokens, prefix: passes.append(tokens.shape[1]) or extend(tokens, prefix)
    )
    session = policy.new_session()
    request = ActRequest(frame(0), "go", None, session)
    first = policy.act_batch([request])[0]
    assert passes == [1] * 6
    passes.clear()
    assert np.array_equal(policy.act_batch([request])[0].ids, first.ids)
    assert passes == [6]
    # The fourth id of the guess is wrong: the three behind it are read one by one.
    passes.clear()
    session.last_ids = torch.from_numpy(first.ids.copy())
    session.last_ids[3] = 512 + (session.last_ids[3] + 1) % 256
    assert np.array_equal(policy.act_batch([request])[0].ids, first.ids)
    assert passes == [6, 1, 1, 1]


def test_coarse_types_decode_one_by_one(policy, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "magma_policy.families.acting.decode_action_ids",
        lambda model, prefix, state, draft: seen.append(draft) or torch.full((1, 7), 600),
    )
    session = policy.new_session()
    session.last_ids = torch.full((7,), 600)
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(policy, "_dtype", dtype)
        policy._decode(policy._head, None, [session])
    assert seen[0].shape == (1, 7)
    assert seen[1] is None


def test_the_vision_tower_can_be_compiled_whole(plain_model):
    policy = policy_of(copy.deepcopy(plain_model))
    plain = policy.act(frame(0), "go", None)
    policy.compile(backend="eager")
    policy.reset()
    assert np.array_equal(policy.act(frame(0), "go", None).ids, plain.ids)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", torch.float32])
def test_types_by_name(tiny_checkpoint, dtype):
    policy = magma_policy.load(tiny_checkpoint, device="cpu", dtype=dtype)
    assert policy.act(frame(0, 128, 128), "go", HOME).deltas.shape == (1, 7)
    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    assert {p.dtype for p in policy.model.parameters()} == {wanted}


def test_devices_and_types_that_are_not_there(monkeypatch):
    assert pick_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    for name, reason in [("cuda", "no CUDA GPU"), ("mps", "no Apple GPU"), ("tpu", "got 'tpu'"), ("meta", "must be")]:
        with pytest.raises(ConfigError, match=reason):
            pick_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == "cuda"
    assert pick_dtype(None, CPU, None) == torch.float32
    assert pick_dtype(None, CPU, "fp8") == torch.bfloat16
    assert pick_dtype(None, torch.device("cuda"), None) == torch.bfloat16
    for bad in ("int8", torch.float64):
        with pytest.raises(ConfigError, match="dtype must be"):
            pick_dtype(bad, CPU, None)
