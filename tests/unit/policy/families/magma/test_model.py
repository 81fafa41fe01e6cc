import dataclasses
import math

import numpy as np
import pytest
import torch

from magma_contracts.arm_state import STATE_SIZE
from magma_contracts.errors import ConfigError
from magma_policy.families.magma.config import magma_8b_config, magma_tiny_config
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.projector import visual_token_count
from magma_policy.inference.action_decoding import _decode_from_draft, _decode_one_by_one, decode_action_ids
from magma_policy.inference.llama import run_layers
from magma_policy.marks.geometry import Cameras
from magma_policy.marks.mark_pointer import local_soft_argmax


def prompt_ids(config, *rows):
    """Left-padded ids with one <image> each."""
    t = config.tokens
    length = max(map(len, rows)) + 3
    out = []
    for row in rows:
        ids = [t.begin_of_text, t.begin_of_text, t.image, *row]
        out.append([t.pad] * (length - len(ids)) + ids)
    ids = torch.tensor(out)
    return ids, ids != t.pad


def tiles_for(config, count, rows=1, cols=1):
    torch.manual_seed(3)
    return torch.randn(count * rows * cols, 3, config.image.base_size, config.image.base_size)


def test_magma_8b_builds_with_published_names_shapes_and_counts():
    config = magma_8b_config()
    with pytest.raises(ConfigError, match="vocab_size"), torch.device("meta"):
        Magma(config)
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, vocab_size=128261))
    with torch.device("meta"):
        state = Magma(config).state_dict()
    shapes = {name: tuple(t.shape) for name, t in state.items()}
    tower = "vision_tower.clip_vision_model.trunk."
    expected = {
        tower + "stem.0.weight": (384, 3, 4, 4),
        tower + "stem.1.bias": (384,),
        tower + "stages.1.downsample.0.weight": (384,),
        tower + "stages.1.downsample.1.weight": (768, 384, 2, 2),
        tower + "stages.0.blocks.0.conv_dw.weight": (384, 1, 7, 7),
        tower + "stages.0.blocks.0.mlp.fc1.weight": (1536, 384),
        tower + "stages.2.blocks.29.gamma": (1536,),
        tower + "stages.3.blocks.2.mlp.fc2.weight": (3072, 12288),
        "multi_modal_projector.proj.0.weight": (4096, 3072),
        "multi_modal_projector.proj.2.bias": (4096,),
        "multi_modal_projector.row_seperator": (1, 1, 4096),
        "language_model.model.embed_tokens.weight": (128261, 4096),
        "language_model.model.layers.31.self_attn.k_proj.weight": (1024, 4096),
        "language_model.model.layers.0.mlp.down_proj.weight": (4096, 14336),
        "language_model.model.norm.weight": (4096,),
        "language_model.lm_head.weight": (128261, 4096),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    assert tower + "stages.0.downsample.0.weight" not in shapes
    vision = sum(t.numel() for n, t in state.items() if n.startswith(tower))
    assert vision == 843_391_872
    projector = sum(t.numel() for n, t in state.items() if n.startswith("multi_modal_projector."))
    assert projector == 3072 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096
    language = sum(t.numel() for n, t in state.items() if n.startswith("language_model."))
    # Llama-3-8B has 8.03 B parameters with 128256 rows; Magma adds five rows to both tables.
    assert language == 8_030_261_248 + 2 * 5 * 4096
    assert not [n for n in shapes if not n.startswith((tower, "multi_modal_projector.", "language_model."))]


def test_magma_tiny_is_small():
    with torch.device("meta"):
        model = Magma(magma_tiny_config())
    assert 2e6 < sum(p.numel() for p in model.parameters()) < 5e6


def test_lean_forward_equals_transformers(plain_model):
    torch.manual_seed(0)
    ids = torch.randint(0, 700, (2, 11))
    embeddings = plain_model.embed(ids)
    positions = torch.arange(11).expand(2, -1)
    hidden, cache = run_layers(plain_model.language_model, plain_model.rotary, embeddings, positions)
    reference = plain_model.language_model(inputs_embeds=embeddings, use_cache=False).logits
    assert torch.allclose(plain_model.logits(hidden), reference, atol=1e-5)
    # In two pieces over the cache, the same.
    first, past = run_layers(plain_model.language_model, plain_model.rotary, embeddings[:, :6], positions[:, :6])
    rest, _ = run_layers(plain_model.language_model, plain_model.rotary, embeddings[:, 6:], positions[:, 6:], past)
    assert torch.allclose(torch.cat([first, rest], dim=1), hidden, atol=1e-5)
    assert cache[0][0].shape == (2, 2, 11, 8)


def test_merge_puts_the_picture_in_place_of_its_token(plain_model):
    config = plain_model.config
    count = visual_token_count(1, 2, config.cells_per_tile)
    visual, _ = plain_model.encode_image(tiles_for(config, 1, 1, 2), 1, 2)
    assert visual.shape == (1, count, 32)
    ids, _ = prompt_ids(config, [5, 6])
    merged, positions, visible = plain_model.merge(ids, visual, None)
    assert visible is None
    assert merged.shape == (1, 2 + count + 2, 32)
    assert torch.equal(merged[0, 2 : 2 + count], visual[0])
    assert torch.equal(merged[0, -1], plain_model.embed(torch.tensor([6]))[0])
    assert positions[0].tolist() == list(range(count + 4))


def test_merge_refuses_prompts_without_exactly_one_picture(plain_model):
    image = plain_model.config.tokens.image
    visual = torch.zeros(1, 6, 32)
    for ids in ([1, 2, 3], [image, 2, image]):
        with pytest.raises(ValueError, match="exactly one <image>"):
            plain_model.merge(torch.tensor([ids]), visual, None)


def test_left_padding_changes_nothing(plain_model):
    config = plain_model.config
    ids, attention = prompt_ids(config, [5, 6, 7, 8, 9], [10, 11])
    visual, levels = plain_model.encode_image(tiles_for(config, 2), 1, 1)
    batched, _ = plain_model.prefill(ids, visual, levels, attention)
    alone, _ = plain_model.prefill(ids[1:, 3:], visual[1:], [x[1:] for x in levels])
    assert torch.allclose(batched.last_hidden[1], alone.last_hidden[0], atol=1e-5)
    assert torch.equal(decode_action_ids(plain_model, batched)[1], decode_action_ids(plain_model, alone)[0])


def test_common_head_read_once_changes_nothing(tiny_model):
    config = tiny_model.config
    ids, attention = prompt_ids(config, [5, 6, 7], [8])
    t = config.tokens
    rest = torch.tensor([[t.image, 5, 6, 7], [t.pad, t.pad, t.image, 8]])
    visual, levels = tiny_model.encode_image(tiles_for(config, 2), 1, 1)
    whole, grounded = tiny_model.prefill(ids, visual, levels, attention)
    head = tiny_model.read_head(ids[:1, :2])
    split, grounded_split = tiny_model.prefill(rest, visual, levels, rest != t.pad, head)
    assert torch.allclose(whole.last_hidden, split.last_hidden, atol=1e-5)
    assert torch.equal(whole.next_position, split.next_position)
    assert torch.allclose(grounded.marks, grounded_split.marks, atol=1e-5)


@pytest.mark.parametrize("which", ["plain", "tiny"])
def test_cached_decode_equals_masked_argmax_without_cache(which, plain_model, tiny_model, overhead):
    model = plain_model if which == "plain" else tiny_model
    config = model.config
    ids, _ = prompt_ids(config, [5, 6, 7])
    visual, levels = model.encode_image(tiles_for(config, 1), 1, 1)
    prefix, grounded = model.prefill(ids, visual, levels)
    marks = grounded.marks if grounded is not None else None
    state = torch.randn(1, STATE_SIZE) if config.proprioception else None
    cameras = Cameras.of([overhead]) if config.geometry else None
    tokens = model.state_tokens(prefix.last_hidden, marks, state, cameras)
    decoded = decode_action_ids(model, prefix, tokens)
    assert torch.equal(decoded, decode_action_ids(model, prefix, tokens, model.draft(tokens)))

    merged, _, _ = model.merge(ids, visual, None)
    sequence = merged
    if model.grounding is not None:
        sequence = torch.cat([sequence, model.grounding.mark_tokens[None]], dim=1)
    if tokens is not None:
        sequence = torch.cat([sequence, tokens[:, :1]], dim=1)
    first = config.tokens.base_vocab_size - 256
    for step in range(7):
        positions = torch.arange(sequence.shape[1])[None]
        hidden, _ = run_layers(model.language_model, model.rotary, sequence, positions)
        logits = model.logits(hidden[:, -1])
        masked = torch.full_like(logits, -math.inf)
        masked[:, first : first + 256] = logits[:, first : first + 256]
        best = masked.argmax(dim=-1)
        assert best.item() == decoded[0, step].item()
        token = model.embed(best[:, None])
        if tokens is not None and step < 6:
            token = token + tokens[:, step + 1 : step + 2]
        sequence = torch.cat([sequence, token], dim=1)


def test_decoding_from_a_draft_gives_the_greedy_ids_whatever_the_draft(tiny_model, overhead):
    config = tiny_model.config
    ids, attention = prompt_ids(config, [5, 6, 7], [8])
    prefix = tiny_model.read_text_only(ids, attention)
    state = torch.randn(2, STATE_SIZE)
    tokens = tiny_model.state_tokens(prefix.last_hidden, torch.rand(2, 4, 2), state, Cameras.of([overhead] * 2))
    greedy = _decode_one_by_one(tiny_model, prefix, tokens)
    for draft in (greedy, torch.full_like(greedy, tiny_model.first_action_id), greedy.flip(1)):
        assert torch.equal(_decode_from_draft(tiny_model, prefix, tokens, draft), greedy)


def test_teacher_forcing_agrees_with_decoding(tiny_model, overhead):
    config = tiny_model.config
    ids, attention = prompt_ids(config, [5, 6, 7], [8])
    prefix = tiny_model.read_text_only(ids, attention)
    marks = torch.rand(2, 4, 2)
    state = torch.randn(2, STATE_SIZE)
    tokens = tiny_model.state_tokens(prefix.last_hidden, marks, state, Cameras.of([overhead] * 2))
    decoded = decode_action_ids(tiny_model, prefix, tokens)
    logits = tiny_model.teacher_forced_action_logits(prefix, tokens, decoded)
    assert torch.equal(logits.argmax(dim=-1) + tiny_model.first_action_id, decoded)


def test_text_only_positions_leave_room_for_picture_and_marks(tiny_model):
    config = tiny_model.config
    ids, attention = prompt_ids(config, [5, 6, 7], [8])
    visual, levels = tiny_model.encode_image(tiles_for(config, 2), 1, 1)
    whole, _ = tiny_model.prefill(ids, visual, levels, attention)
    text = tiny_model.read_text_only(ids, attention)
    assert torch.equal(whole.next_position, text.next_position)


def test_state_inputs_must_fit_the_switches(tiny_model):
    prompt, marks, state = torch.zeros(1, 48), torch.rand(1, 4, 2), torch.zeros(1, STATE_SIZE)
    with pytest.raises(ValueError, match="marks"):
        tiny_model.state_tokens(prompt, None, state)
    with pytest.raises(ValueError, match="proprioception"):
        tiny_model.state_tokens(prompt, marks, None)
    with pytest.raises(ValueError, match="cameras"):
        tiny_model.state_tokens(prompt, marks, state)


@pytest.mark.parametrize("proprioception", [True, False])
def test_geometry_and_proprioception_can_be_switched_off(proprioception, overhead):
    config = dataclasses.replace(magma_tiny_config(None), proprioception=proprioception)
    model = Magma(config)
    state = torch.zeros(1, STATE_SIZE) if proprioception else None
    assert model.state_tokens(torch.zeros(1, 192), torch.rand(1, 4, 2), state).shape == (1, 7, 192)


def test_casting_inverts_the_camera(overhead):
    intrinsics, extrinsics = np.array(overhead.intrinsics), np.array(overhead.extrinsics)
    points = np.array([[0.4, -0.1, 0.02], [0.6, 0.2, 0.02]])
    camera = points @ extrinsics[:3, :3].T + extrinsics[:3, 3]
    pixels = camera @ intrinsics.T
    fractions = torch.tensor(pixels[:, :2] / pixels[:, 2:] / 128.0)
    cast = Cameras.of([overhead]).project(fractions[None].float())[0]
    assert cast.numpy() == pytest.approx(points[:, :2], abs=1e-5)
    with pytest.raises(ConfigError, match="lies in the plane"):
        dataclasses.replace(overhead, plane_height_m=0.8)


def test_every_row_is_cast_by_its_own_camera(overhead):
    moved = dataclasses.replace(overhead, plane_height_m=0.3)
    marks = torch.rand(3, 4, 2)
    cameras = Cameras.of([overhead, moved]).select(torch.tensor([0, 1, 0]))
    together = cameras.project(marks)
    for row, camera in enumerate((overhead, moved, overhead)):
        assert torch.allclose(together[row], Cameras.of([camera]).project(marks[row : row + 1])[0])
    lifted = cameras.project(marks, torch.tensor([0.3, 0.3, 0.02]))
    assert torch.allclose(lifted[1], together[1]) and not torch.allclose(lifted[0], together[0])


def test_local_soft_argmax_follows_the_peak_and_ignores_far_modes():
    size = 32
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")

    def bump(cx, cy, height):
        return height * torch.exp(-((x + 0.5 - cx) ** 2 + (y + 0.5 - cy) ** 2) / 2.0)

    logits = (bump(10.3, 20.8, 10.0) + bump(27.0, 3.0, 9.5))[None, None]
    marks = local_soft_argmax(logits, window=2)[0, 0] * size
    assert marks.tolist() == pytest.approx([10.3, 20.8], abs=0.15)
