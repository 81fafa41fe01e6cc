"""The network: names and shapes of the published tensors, features, and the decoder's two ways of reading."""

import torch
from torch import nn

from magma_policy.families.openvla.initialise import random_state
from magma_policy.families.openvla.model import IMAGE_ID, OpenVLA
from magma_policy.families.openvla.vision import VisionTransformer, unused_tensors
from tests.unit.policy.families.openvla.conftest import openvla_7b_config, whole_logits


def published_tensors():
    """Names and shapes of openvla-7b's tensors, written down from timm's, Prismatic's and Llama's layouts."""
    shapes = {}

    def layer(name, *weight, bias=True):
        shapes[f"{name}.weight"] = weight
        if bias:
            shapes[f"{name}.bias"] = weight[:1]

    for tower, width, depth, inner in (("featurizer", 1024, 24, 4096), ("fused_featurizer", 1152, 27, 4304)):
        home = f"vision_backbone.{tower}"
        shapes[f"{home}.pos_embed"] = (1, 256, width)
        layer(f"{home}.patch_embed.proj", width, 3, 14, 14)
        layer(f"{home}.norm", width)
        for number in range(depth):
            block = f"{home}.blocks.{number}"
            layer(f"{block}.norm1", width)
            layer(f"{block}.norm2", width)
            layer(f"{block}.attn.qkv", 3 * width, width)
            layer(f"{block}.attn.proj", width, width)
            layer(f"{block}.mlp.fc1", inner, width)
            layer(f"{block}.mlp.fc2", width, inner)
            if tower == "featurizer":
                shapes[f"{block}.ls1.scale_factor"] = shapes[f"{block}.ls2.scale_factor"] = (width,)
    shapes["vision_backbone.featurizer.cls_token"] = (1, 1, 1024)
    shapes["vision_backbone.featurizer.reg_token"] = (1, 4, 1024)
    pool = "vision_backbone.fused_featurizer.attn_pool"
    shapes[f"{pool}.latent"] = (1, 1, 1152)
    layer(f"{pool}.q", 1152, 1152)
    layer(f"{pool}.kv", 2304, 1152)
    layer(f"{pool}.proj", 1152, 1152)
    layer(f"{pool}.norm", 1152)
    layer(f"{pool}.mlp.fc1", 4304, 1152)
    layer(f"{pool}.mlp.fc2", 1152, 4304)
    layer("projector.fc1", 8704, 2176)
    layer("projector.fc2", 4096, 8704)
    layer("projector.fc3", 4096, 4096)
    layer("language_model.model.embed_tokens", 32064, 4096, bias=False)
    layer("language_model.lm_head", 32064, 4096, bias=False)
    layer("language_model.model.norm", 4096, bias=False)
    for number in range(32):
        block = f"language_model.model.layers.{number}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            layer(f"{block}.self_attn.{name}", 4096, 4096, bias=False)
        layer(f"{block}.mlp.gate_proj", 11008, 4096, bias=False)
        layer(f"{block}.mlp.up_proj", 11008, 4096, bias=False)
        layer(f"{block}.mlp.down_proj", 4096, 11008, bias=False)
        layer(f"{block}.input_layernorm", 4096, bias=False)
        layer(f"{block}.post_attention_layernorm", 4096, bias=False)
    return shapes


def test_every_tensor_of_openvla_7b_by_name_and_shape():
    config = openvla_7b_config()
    with torch.device("meta"):
        built = {name: tuple(tensor.shape) for name, tensor in OpenVLA(config).state_dict().items()}
    unused = unused_tensors(config.towers)
    expected = published_tensors()
    assert not built.keys() & unused.keys()
    assert built | unused == expected
    towers = [
        sum(name.startswith(f"vision_backbone.{t}.") for name in expected) for t in ("featurizer", "fused_featurizer")
    ]
    assert towers == [343, 342]
    assert len(expected) == 343 + 342 + 6 + 9 * 32 + 3
    assert round(sum(torch.Size(shape).numel() for shape in expected.values()) / 1e9, 2) == 7.54


def test_a_tower_stops_before_its_last_block_and_gives_its_patches_only(small_config):
    for tower in small_config.towers:
        torch.manual_seed(0)
        built = VisionTransformer(tower).eval()
        for parameter in built.parameters():
            nn.init.normal_(parameter, std=0.1)
        pixels = torch.randn(2, 3, tower.image_size, tower.image_size)
        with torch.inference_mode():
            features = built(pixels)
            assert features.shape == (2, tower.patches, tower.width)
            assert len(built.blocks) == tower.depth - 1
            # The tokens in front of the patches take part in the attention, though they are not given out.
            if built.prefix:
                built.reg_token.normal_()
                assert not torch.allclose(built(pixels), features)
            alone = torch.cat([built(pixels[:1]), built(pixels[1:])])
            assert torch.allclose(built(pixels), alone, atol=1e-6)


def test_patches_are_read_row_by_row(small_config):
    tower = small_config.towers[1]
    built = VisionTransformer(tower).eval()
    for block in built.blocks:
        for parameter in block.parameters():
            nn.init.zeros_(parameter)
    pixels = torch.zeros(1, 3, tower.image_size, tower.image_size)
    pixels[:, :, : tower.patch, -tower.patch :] = 1.0
    with torch.inference_mode():
        changed = (built(pixels) - built(torch.zeros_like(pixels))).abs().sum(dim=2)[0]
    across = tower.image_size // tower.patch
    assert changed.nonzero().flatten().tolist() == [across - 1]


def test_the_decoder_reads_what_the_library_reads(small_config):
    """The model's own pass over its layers against transformers' on the same embeddings."""
    model = OpenVLA(small_config).eval()
    state = random_state(small_config, 3)
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    pixels = torch.randn(2, 6, small_config.towers[0].image_size, small_config.towers[0].image_size)
    ids = torch.randint(3, 32000, (2, 9))
    with torch.inference_mode():
        logits = whole_logits(model, ids, pixels)
        text = model.embed(ids)
        embeddings = torch.cat([text[:, :1], model.encode_image(pixels), text[:, 1:]], dim=1)
        expected = model.language_model(inputs_embeds=embeddings).logits
        assert torch.allclose(logits, expected, atol=1e-5)
        # With a cache and in one batch with a shorter prompt.
        place = torch.full((2, 1), IMAGE_ID)
        rows = torch.cat([ids[:, :1], place, ids[:, 1:]], dim=1)
        rows[1] = torch.cat([torch.tensor([32000, 32000]), rows[1, :2], rows[1, 4:]])
        attention = torch.ones_like(rows, dtype=torch.bool)
        attention[1, :2] = False
        cache = model.prefill(rows, model.encode_image(pixels), attention)
        assert torch.allclose(model.logits(cache.last_hidden)[0], expected[0, -1], atol=1e-5)
        shorter = whole_logits(model, torch.cat([ids[1:, :1], ids[1:, 3:]], dim=1), pixels[1:])
        assert torch.allclose(model.logits(cache.last_hidden)[1], shorter[0, -1], atol=1e-5)
