"""Free text: the same ids as transformers' generate, sampling by the rules, streams that add up."""

import numpy as np
import pytest
import torch

from magma_policy.errors import GenerationError
from magma_policy.families.interface import GenerationSettings, Message
from magma_policy.families.magma.checkpoint import Checkpoint
from magma_policy.families.magma.policy import Policy
from magma_policy.families.magma.tokenizer import build_small_tokenizer
from magma_policy.inference.generation import generate_ids
from magma_policy.inference.sampler import Sampler
from magma_policy.inference.static_decoder import StaticDecoder, StaticDecoders, round_up

CPU = torch.device("cpu")
PICTURES = [np.random.default_rng(s).integers(0, 256, (64, 64 + 70 * s, 3), dtype=np.uint8) for s in range(3)]


@pytest.fixture(scope="module")
def policy(plain_model):
    tokenizer = build_small_tokenizer(plain_model.config.tokens)
    return Policy(Checkpoint(plain_model, tokenizer, {}, (plain_model.config.tokens.end_of_turn,)), CPU)


def test_greedy_text_is_that_of_transformers(policy):
    model, messages = policy.model, [Message("What is in these?", PICTURES[:2]), Message("Hello")]
    inputs = policy.processor(messages)
    with torch.inference_mode():
        embeddings, positions, visible = model.embed_inputs(inputs)
        expected = model.language_model.generate(
            inputs_embeds=embeddings, attention_mask=visible.long(), position_ids=positions, max_new_tokens=12,
            do_sample=False, pad_token_id=model.config.tokens.pad,
        )  # fmt: skip
    answers = policy.generate(messages, GenerationSettings(max_new_tokens=12))
    assert [answer.ids for answer in answers] == expected.tolist()
    assert [answer.finish for answer in answers] == ["length", "length"]
    assert list(answers[0].stage_ms) == ["preprocess", "prefill", "decode"]


def test_a_row_of_a_batch_is_what_it_is_alone(policy):
    messages = [Message("Which?", PICTURES), Message("Hello"), Message("What happens here?", PICTURES[2:])]
    together = policy.generate(messages, GenerationSettings(max_new_tokens=8))
    for message, answer in zip(messages, together, strict=True):
        assert policy.chat(message.question, message.images, GenerationSettings(max_new_tokens=8)).ids == answer.ids


def test_text_ends_with_the_stop_id_row_by_row(policy, plain_model):
    messages = [Message("Hello"), Message("Which?", PICTURES)]
    free = policy.generate(messages, GenerationSettings(max_new_tokens=8))
    stop = free[0].ids[3]
    assert stop not in free[0].ids[:3]
    stopping = Policy(Checkpoint(plain_model, policy.tokenizer, {}, (stop,)), CPU)
    first, second = stopping.generate(messages, GenerationSettings(max_new_tokens=8))
    assert (first.ids, first.finish) == (free[0].ids[:3], "stop")
    expected = free[1].ids[: free[1].ids.index(stop)] if stop in free[1].ids else free[1].ids
    assert second.ids == expected


@pytest.mark.parametrize("settings", [GenerationSettings(max_new_tokens=40), GenerationSettings(40, 1.0, seed=3)])
def test_a_stream_adds_up_to_the_answer(policy, settings):
    pieces = list(policy.stream("What is this?", PICTURES[:1], settings))
    answer = policy.chat("What is this?", PICTURES[:1], settings)
    assert len(pieces) > 1
    # A stream keeps back bytes that may still become a character; at the end of the text none can.
    assert answer.text.startswith("".join(pieces))
    assert set(answer.text[len("".join(pieces)) :]) <= {"\ufffd"}


def test_a_stream_can_be_closed(policy):
    stream = policy.stream("What is this?", PICTURES[:1])
    next(stream)
    stream.close()
    assert policy.chat("What is this?", PICTURES[:1], GenerationSettings(3)).ids


def test_characters_of_several_tokens_come_out_whole(policy):
    ids = policy.tokenizer.encode("hänge 🙂 auf")[1:]
    assert len(ids) > 10
    decoder = policy.tokenizer.decoder()
    pieces = [decoder.add(id_) for id_ in ids]
    assert "".join(pieces) == "hänge 🙂 auf"
    assert "🙂" in "|".join(pieces)
    assert "" in pieces


def test_a_seed_repeats_and_another_does_not(policy):
    def text(seed):
        return policy.chat("Hello", (), GenerationSettings(20, temperature=1.5, seed=seed)).ids

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_sampling_by_the_rules():
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0, 0.0], [0.0, 0.0, 5.0, 0.0, 0.0]])

    def seen(**settings):
        chooser = Sampler(GenerationSettings(temperature=1.0, seed=0, **settings), CPU)
        drawn = torch.stack([chooser.choose(logits) for _ in range(400)])
        return set(drawn[:, 0].tolist()), set(drawn[:, 1].tolist())

    assert seen()[0] == {0, 1, 2, 3, 4}
    assert seen(top_k=2)[0] == {0, 1}
    assert seen(top_k=1) == ({0}, {2})
    # Probabilities 0.64, 0.23, 0.09, ...: two of them reach 0.7.
    assert seen(top_p=0.7)[0] == {0, 1}
    assert seen(top_p=0.1) == ({0}, {2})
    cold = Sampler(GenerationSettings(temperature=1e-3, seed=0), CPU)
    assert cold.choose(logits).tolist() == [0, 2]


def test_frequencies_are_those_of_the_softmax():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]])).expand(20000, 3)
    for temperature, expected in [(1.0, [0.5, 0.3, 0.2]), (0.5, np.array([0.25, 0.09, 0.04]) / 0.38)]:
        drawn = Sampler(GenerationSettings(temperature=temperature, seed=1), CPU).choose(logits)
        assert np.bincount(drawn.numpy()) / 20000 == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    "bad",
    [
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(GenerationError, match=next(iter(bad))):
        GenerationSettings(**bad)


def test_the_models_length_ends_a_text(policy):
    long = Message("put " * 440)
    answer = policy.generate([long], GenerationSettings(max_new_tokens=500))[0]
    read = policy.processor([long]).input_ids.shape[1]
    assert read + len(answer.ids) == 512
    assert answer.finish == "length"


def test_static_cache_reads_as_the_growing_one_does(policy):
    """Row by row of a padded batch, the logits after each further id."""
    model = policy.model
    inputs = policy.processor([Message("Which?", PICTURES[:2]), Message("Hello")])
    with torch.inference_mode():
        prefix = model.read_inputs(inputs)
        decoder = StaticDecoder(model, 2, round_up(prefix.length + 5))
        decoder.load(prefix)
        for step in range(5):
            ids = torch.tensor([3 + step, 90 + step])
            _, prefix = model.extend(model.embed(ids[:, None]), prefix)
            found = decoder.logits_after(ids)
            assert torch.allclose(found, model.logits(prefix.last_hidden), atol=1e-5)


def test_texts_at_the_same_time_do_not_meet(policy):
    """Two streams of equal size interleaved, and what they leave behind is used again."""
    settings = GenerationSettings(12)
    expected = ["".join(policy.stream(q, (), settings)) for q in ("Hello", "Why?")]
    first, second = policy.stream("Hello", (), settings), policy.stream("Why?", (), settings)
    texts = ["", ""]
    for _ in range(12):
        for which, stream in enumerate((first, second)):
            texts[which] += next(stream, "")
    assert texts == expected
    pool = StaticDecoders(policy.model, kept=2)
    with pool.lend(1, 100) as one, pool.lend(1, 128) as other:
        assert one is not other
    with pool.lend(1, 90) as again:
        assert again in (one, other)
    with pool.lend(1, 200), pool.lend(2, 100):
        pass
    with pool.lend(1, 100) as fresh:
        assert fresh not in (one, other)


def test_idle_decoders_hold_no_more_memory_than_they_may(policy):
    with StaticDecoders(policy.model).lend(2, 256) as one:
        size = one.size_bytes
    cache = 2 * 2 * 2 * 256 * policy.model.config.text.hidden_size // 2 * 4  # layers, keys and values, rows, tokens
    assert cache < size < 2 * cache
    pool = StaticDecoders(policy.model, kept_bytes=2 * size)
    for batch, length in ((2, 256), (1, 100), (2, 256), (1, 300), (2, 384), (2, 500), (3, 500), (1, 128), (2, 256)):
        with pool.lend(batch, length):
            pass
        assert pool.idle_bytes <= 2 * size
    with pool.lend(1, 128) as small, pool.lend(2, 256) as large:
        assert pool.idle_bytes == 0, "both were still there"
    with pool.lend(8, 512), pool.lend(1, 128) as again:
        assert again is small and large.size_bytes == size
    assert pool.idle_bytes == size + small.size_bytes or pool.idle_bytes == 0


def test_a_full_static_cache_refuses_more(policy):
    with torch.inference_mode():
        prefix = policy.model.read_inputs(policy.processor([Message("Hello")]))
    decoder = StaticDecoder(policy.model, 1, prefix.length + 1)
    decoder.load(prefix)
    decoder.logits_after(torch.tensor([1]))
    with pytest.raises(ValueError, match="the cache holds"):
        decoder.logits_after(torch.tensor([1]))
    with pytest.raises(ValueError, match="leave no room"):
        StaticDecoder(policy.model, 1, prefix.length).load(prefix)


def test_a_prompt_that_fills_the_model_gets_no_text(policy):
    with torch.inference_mode():
        prefix = policy.model.read_inputs(policy.processor([Message("put " * 450)]))
        longer = policy.model.extend(torch.zeros(1, 512 - prefix.length, 32), prefix)[1]
    with pytest.raises(GenerationError, match="no room"):
        next(generate_ids(policy.model, longer, GenerationSettings(), (), policy._decoders))
