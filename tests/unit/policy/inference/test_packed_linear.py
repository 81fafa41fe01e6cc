"""Linear layers packed for the CPU give the same numbers."""

import copy

import pytest
import torch

from magma_policy.inference import packed_linear
from magma_policy.inference.action_decoding import decode_action_ids
from magma_policy.inference.packed_linear import PackedLinear, pack_linears

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@pytest.mark.parametrize("rows", [1, 7, 50])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_computes_the_same(rows, bias):
    torch.manual_seed(0)
    linear = torch.nn.Linear(96, 160, bias=bias)
    x = torch.randn(2, rows, 96)
    with torch.inference_mode():
        assert torch.allclose(PackedLinear(linear, 7)(x), linear(x), atol=1e-5)
        gelu = torch.nn.functional.gelu(linear(x))
        assert torch.allclose(PackedLinear(linear, 7, gelu=True)(x), gelu, atol=1e-5)


def test_a_packed_model_reads_and_decodes_the_same(plain_model, monkeypatch):
    for limit in ("PACK_FROM_PARAMETERS", "PACK_FROM_ELEMENTS"):
        monkeypatch.setattr(packed_linear, limit, 0)
    packed = copy.deepcopy(plain_model)
    # Two in each of five blocks, two of the projector, seven in each of two decoder layers.
    assert pack_linears(packed) == 2 * 5 + 2 + 7 * 2
    tiles = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for ours, expected in zip(
            packed.encode_images(tiles, [(1, 2)]), plain_model.encode_images(tiles, [(1, 2)]), strict=True
        ):
            assert torch.allclose(ours, expected, atol=1e-5)
    ids = torch.randint(0, 500, (1, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(packed(ids), plain_model(ids), atol=1e-4)
        head = plain_model.read_head(ids), packed.read_head(ids)
    assert torch.equal(decode_action_ids(plain_model, head[0]), decode_action_ids(packed, head[1]))


def test_small_models_are_left_alone(plain_model, tiny_model):
    for model in (plain_model, tiny_model):
        assert pack_linears(model) == 0
    assert not [m for m in tiny_model.modules() if isinstance(m, PackedLinear)]


def test_types_that_cannot_be_packed_stay(plain_model, monkeypatch):
    monkeypatch.setattr(packed_linear, "PACK_FROM_PARAMETERS", 0)

    def refuse(*_):
        raise RuntimeError("fp16 path needs the cpu support avx512_fp16")

    monkeypatch.setattr(packed_linear, "PackedLinear", refuse)
    model = copy.deepcopy(plain_model)
    assert pack_linears(model) == 0
