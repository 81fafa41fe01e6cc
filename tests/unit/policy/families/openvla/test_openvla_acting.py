"""Actions: seven of the 256 ids, one by one or at once, alone or in a batch, and what they mean."""

import copy

import numpy as np
import pytest
import torch

from magma_policy.embodiments.registry import make_adapter
from magma_policy.errors import InstructionError, NotFiniteError, ObservationError
from magma_policy.families.interface import ActRequest
from magma_policy.families.openvla.policy import Policy
from magma_policy.inference.action_tokens import ActionTokens
from tests.unit.policy.families.openvla.conftest import STATISTICS, frame

TASKS = ("go", "put the carrot on the plate", "Open the DRAWER", "put the carrot on the plate")


def by_the_library(policy, image, instruction):
    """Seven ids by transformers' own class without a cache, the best of the action ids each."""
    model = policy.model
    begin, _, *rest = policy._instruction_ids(instruction)
    pixels = policy.images.pixels(image)[None]
    ids = [begin, *rest]
    for _ in range(7):
        text = model.embed(torch.tensor([ids]))
        seen = torch.cat([text[:, :1], model.encode_image(pixels), text[:, 1:]], dim=1)
        logits = model.language_model(inputs_embeds=seen).logits[0, -1]
        ids.append(31744 + int(logits[31744:32000].argmax()))
    return ids[-7:]


@torch.inference_mode()
def test_the_ids_are_the_librarys_and_mean_what_the_statistics_say(policy):
    result = policy.act(frame(1), TASKS[1], None)
    assert result.ids.tolist() == by_the_library(policy, frame(1), TASKS[1])
    values = STATISTICS["bridge_orig"].unnormalise(ActionTokens(32000).decode(result.ids))
    expected = make_adapter("widowx").adapt(values)
    assert np.array_equal(result.deltas[0], expected.delta) and np.array_equal(result.simpler, expected.simpler)
    assert result.marks is None
    assert list(result.stage_ms) == ["preprocess", "vision", "prefill", "decode", "unnormalise"]


def test_a_batch_equals_its_rows(policy):
    requests = [ActRequest(frame(k), task, None, policy.new_session()) for k, task in enumerate(TASKS)]
    together = policy.act_batch(requests)
    alone = [policy.act_batch([ActRequest(r.image, r.instruction)])[0] for r in requests]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.ids, other.ids) and np.array_equal(one.deltas, other.deltas)
    # Again, now with the ids of before as a guess, and with the rows in another order.
    again = policy.act_batch(requests[::-1])[::-1]
    assert [r.ids.tolist() for r in again] == [r.ids.tolist() for r in alone]


def test_capital_letters_say_the_same(policy):
    one, other = (policy.act(frame(0), text, None).ids.tolist() for text in ("Open the DRAWER", "open the drawer "))
    assert one == other


def test_a_model_that_computes_no_numbers_moves_nothing(written):
    policy = Policy.load(written, "cpu", robot="widowx")
    policy.model.language_model.model.norm.weight.data[0] = float("nan")
    session = policy.new_session()
    with pytest.raises(NotFiniteError, match="openvla-test computed logits in float32 that are not finite"):
        policy.act_batch([ActRequest(frame(0), "go", None, session)])
    assert session.last_ids is None
    policy.model.language_model.model.norm.weight.data.zero_()
    with pytest.raises(NotFiniteError, match="equal for every id"):
        policy.act(frame(0), "go", None)


def test_bad_requests_are_refused(policy):
    for image, said in [(frame(0)[:, :, :1], "shape"), (frame(0, 64, 64), "480, 640"), (frame(0) / 255.0, "uint8")]:
        with pytest.raises(ObservationError, match=said):
            policy.act(image, "go", None)
    for words, said in [
        ("", "empty"),
        ("<s> go", "reserved markup"),
        ("go\x00", "control"),
        ("x" * 600, "at most 512"),
    ]:
        with pytest.raises(InstructionError, match=said):
            policy.act(frame(0), words, None)


def test_a_prompt_longer_than_the_model_reads_is_refused(policy):
    short = copy.copy(policy)
    limited = copy.copy(policy.model)
    limited._text = type(limited._text)(**{**vars(limited._text), "max_position_embeddings": 90})
    short._decoder = limited
    with pytest.raises(InstructionError, match=r"of text and 16 of the picture; openvla-test reads 90, 7 of which"):
        short.check(ActRequest(frame(0), "put the carrot on the plate"))
    short.check(ActRequest(frame(0), "go"))


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"dtype": "float16"}, {"quantization": "fp8"}])
def test_other_number_formats_act(written, options):
    policy = Policy.load(written, "cpu", robot="widowx", **options)
    result = policy.act(frame(0), "go", None)
    assert np.isfinite(result.deltas).all() and result.ids.min() >= 31744 and result.ids.max() < 32000


def test_large_layers_are_packed_and_say_the_same(policy, monkeypatch, written):
    monkeypatch.setattr("magma_policy.inference.packed_linear.PACK_FROM_PARAMETERS", 1)
    monkeypatch.setattr("magma_policy.inference.packed_linear.PACK_FROM_ELEMENTS", 1)
    packed = Policy.load(written, "cpu", robot="widowx")
    if not any(type(module).__name__ == "PackedLinear" for module in packed.model.modules()):
        pytest.skip("oneDNN packs nothing on this machine")
    pixels = policy.images.pixels(frame(0))[None]
    with torch.inference_mode():
        assert torch.allclose(packed.model.encode_image(pixels), policy.model.encode_image(pixels), atol=1e-4)
    assert np.array_equal(packed.act(frame(2), "go", None).ids, policy.act(frame(2), "go", None).ids)
