"""Weights in fewer bits: close to the full ones, only where they should be, and refused clearly."""

import builtins

import numpy as np
import pytest
import torch

import magma_policy
from magma_contracts.errors import ConfigError
from magma_policy.families.interface import Message
from magma_policy.families.magma import checkpoint
from magma_policy.inference.quantisation import Fp8Linear, quantise

CPU = torch.device("cpu")


def logits(wide_checkpoint, quantization, dtype=None):
    policy = magma_policy.load(wide_checkpoint, device="cpu", dtype=dtype, quantization=quantization)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    inputs = policy.processor([Message("What is this?", [picture])])
    with torch.inference_mode():
        return policy.model(inputs.input_ids, inputs.pixel_values, inputs.image_sizes), policy


# Roughly the rounding error of 8 bits, of e4m3's 3 bits of mantissa, and of 4 bits.
@pytest.mark.parametrize(("kind", "error"), [("int8", 0.03), ("fp8", 0.12), ("int4", 0.35)])
def test_logits_stay_close(wide_checkpoint, kind, error):
    if kind != "fp8":
        pytest.importorskip("bitsandbytes")
    expected, _ = logits(wide_checkpoint, None)
    found, policy = logits(wide_checkpoint, kind)
    assert (found - expected).std() < error * expected.std()
    assert not torch.equal(found, expected)
    model = policy.model
    layers = dict(model.language_model.model.layers.named_parameters())
    layers |= dict(model.language_model.model.layers.named_buffers())
    stored = {t.dtype for name, t in layers.items() if "proj" in name and name.endswith("weight")}
    assert stored == {{"int8": torch.int8, "int4": torch.uint8, "fp8": torch.float8_e4m3fn}[kind]}
    kept = torch.bfloat16 if kind == "fp8" else torch.float32
    for module in (model.vision_tower, model.multi_modal_projector, model.language_model.lm_head):
        assert {p.dtype for p in module.parameters()} == {kept}


def test_a_quantised_model_acts_and_talks(wide_checkpoint):
    pytest.importorskip("bitsandbytes")
    policy = magma_policy.load(wide_checkpoint, device="cpu", quantization="int4", robot="widowx")
    result = policy.act(np.zeros((480, 640, 3), dtype=np.uint8), "pick coke can", None)
    assert ((result.ids >= 512) & (result.ids < 768)).all()
    assert policy.chat("Hello").ids


def test_an_fp8_layer_rounds_rows_by_themselves():
    torch.manual_seed(0)
    weight = torch.randn(32, 64) * torch.logspace(-3, 3, 32)[:, None]
    x = (torch.randn(5, 64) * torch.logspace(-2, 2, 5)[:, None]).to(torch.bfloat16)
    found = Fp8Linear(weight)(x)
    expected = x.float() @ weight.t()
    assert found.dtype == torch.bfloat16
    # Relative to each row's and column's own size: a common scale would lose the small ones.
    size = x.float().norm(dim=1)[:, None] * weight.norm(dim=1)
    assert ((found.float() - expected).abs() / size).max() < 0.03
    assert Fp8Linear(torch.zeros(16, 16))(torch.zeros(2, 16, dtype=torch.bfloat16)).abs().max() == 0


def test_what_cannot_be_done_is_said(wide_checkpoint, monkeypatch, plain_model):
    with pytest.raises(ConfigError, match="quantization must be one of"):
        magma_policy.load(wide_checkpoint, device="cpu", quantization="int2")
    with pytest.raises(ConfigError, match="computes in bfloat16"):
        magma_policy.load(wide_checkpoint, device="cpu", dtype="float32", quantization="fp8")
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        quantise(plain_model, "fp8", torch.device("mps"), torch.bfloat16)
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "bitsandbytes":
            raise problem
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    problem = ModuleNotFoundError("No module named 'bitsandbytes'", name="bitsandbytes")
    with pytest.raises(ConfigError, match=r"pip install 'magma-policy\[quantization\]'"):
        checkpoint.load(wide_checkpoint, CPU, torch.float32, "int8")
    problem = ImportError("libcudart.so.13: cannot open shared object file")
    with pytest.raises(ConfigError, match=r"failed: libcudart\.so\.13: cannot open shared object file$"):
        checkpoint.load(wide_checkpoint, CPU, torch.float32, "int8")
