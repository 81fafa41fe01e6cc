"""Pictures and questions to model inputs, in the published order of operations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from magma_policy.errors import InstructionError, ObservationError
from magma_policy.families.interface import Message
from magma_policy.families.magma.config import ImageConfig
from magma_policy.families.magma.model_inputs import ModelInputs
from magma_policy.families.magma.processor import Processor
from magma_policy.families.magma.prompt import SYSTEM_TEXT, chat, user_content
from magma_policy.families.magma.tiling import candidate_grids, choose_grid, tile_image
from magma_policy.families.magma.tokenizer import build_small_tokenizer


@pytest.fixture(scope="module")
def processor(plain_config):
    return Processor(build_small_tokenizer(plain_config.tokens), plain_config)


def picture(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_the_book(image, config, grid):
    """The published steps one by one: planes, 0..1, normalise, bilinear, cut."""
    planes = torch.from_numpy(image.transpose(2, 0, 1).copy()).to(torch.float32).div(255)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (config.mean, config.std))
    planes = planes.sub(mean).div(std)
    side = config.base_size
    big = interpolate(planes[None], size=(grid[0] * side, grid[1] * side), mode="bilinear")[0]
    return torch.stack(
        [big[:, r * side : (r + 1) * side, c * side : (c + 1) * side] for r in range(grid[0]) for c in range(grid[1])]
    )


# One size for each of the eight grids at 512 px, larger and smaller than the grid.
SIZES = [
    ((500, 480), (1, 1)), ((500, 900), (2, 1)), ((480, 1300), (3, 1)), ((400, 1800), (4, 1)),
    ((640, 480), (1, 2)), ((1100, 900), (2, 2)), ((1300, 480), (1, 3)), ((2500, 500), (1, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("size", "grid"), SIZES)
def test_pixels_are_bit_for_bit_those_of_the_published_steps(size, grid):
    config = ImageConfig(base_size=512, max_num_crops=4)
    image = picture(*size)
    tiles, found = tile_image(image, config)
    assert found == grid
    assert torch.equal(tiles, by_the_book(image, config, grid))


def test_the_sizes_above_use_every_grid():
    assert {(cols, rows) for _, (rows, cols) in SIZES} == set(candidate_grids(4))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 6))
def test_no_other_grid_shows_more_of_the_picture(width, height, crops):
    """The chosen grid keeps most pixels, and among those that keep as many it wastes least."""

    def kept(rows, cols):
        scale = min(cols * 512 / width, rows * 512 / height)
        return min(int(width * scale) * int(height * scale), width * height)

    chosen = choose_grid(width, height, 512, crops)
    best = max(kept(rows, cols) for cols, rows in candidate_grids(crops))
    assert kept(*chosen) == best
    areas = [rows * cols for cols, rows in candidate_grids(crops) if kept(rows, cols) == best]
    assert chosen[0] * chosen[1] == min(areas)


def test_one_line_per_picture_in_front_of_the_question(processor):
    text = processor.prompt(Message("  Which is larger?\n", [picture(8, 8), picture(9, 9)]))
    line = "<image_start><image><image_end>\n"
    assert text == chat(f"{line}{line}Which is larger?")
    assert text.startswith(f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{SYSTEM_TEXT}<|eot_id|>")
    assert text.endswith("<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n")
    assert user_content("Which?", 1, markers=False) == "<image>\nWhich?"


def test_a_system_text_with_a_picture_in_it_is_a_sentence(processor):
    with pytest.raises(InstructionError, match="system text contains reserved markup"):
        processor([Message("Hi", (), "Look at <image> first.")])


def test_a_batch_is_padded_on_the_left(processor, plain_config):
    messages = [Message("Hi"), Message("What is in these?", [picture(64, 64), picture(200, 64)])]
    inputs = processor(messages)
    alone = [processor([m]) for m in messages]
    assert inputs.input_ids.shape == inputs.attention_mask.shape
    for row, single in enumerate(alone):
        length = single.input_ids.shape[1]
        assert torch.equal(inputs.input_ids[row, -length:], single.input_ids[0])
        assert (inputs.input_ids[row, :-length] == plain_config.tokens.pad).all()
        assert inputs.attention_mask[row].tolist() == [False] * (inputs.input_ids.shape[1] - length) + [True] * length
    assert inputs.image_sizes.tolist() == [[[0, 0], [0, 0]], [[1, 1], [1, 4]]]
    assert inputs.pixel_values.shape == (2, 5, 3, 64, 64)
    assert inputs.grids(0) == []
    tiles, grids = inputs.flat_images()
    assert torch.equal(tiles, alone[1].pixel_values[0])
    assert grids == [(1, 1), (1, 4)]


def test_frames_of_a_video_can_be_held_to_one_tile(processor):
    frames = [picture(200, 64, seed) for seed in range(3)]
    assert processor([Message("What happens?", frames, max_num_crops=1)]).image_sizes.tolist() == [[[1, 1]] * 3]
    for crops in (0, 5):
        with pytest.raises(ObservationError, match=r"1\.\.4"):
            processor([Message("What happens?", frames, max_num_crops=crops)])


def test_a_batch_gives_the_logits_of_its_rows(processor, plain_model):
    messages = [
        Message("Hi"),
        Message("What is in these two pictures?", [picture(64, 64), picture(200, 64)]),
        Message("And here?", [picture(70, 150)]),
    ]
    inputs = processor(messages)
    with torch.inference_mode():
        together = plain_model(inputs.input_ids, inputs.pixel_values, inputs.image_sizes, inputs.attention_mask)
        for row, message in enumerate(messages):
            single = processor([message])
            alone = plain_model(single.input_ids, single.pixel_values, single.image_sizes)
            assert torch.allclose(together[row, -alone.shape[1] :], alone[0], atol=1e-4)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("", "empty"),
        ("a" * 16385, "16385 characters"),
        ("<image> what?", "reserved"),
        ("<|eot_id|>", "reserved"),
        ("bell \a", "control"),
        (7, "string"),
    ],
)
def test_bad_questions_are_refused(processor, question, reason):
    with pytest.raises(InstructionError, match=reason):
        processor([Message(question)])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3)),
        "x",
    ],
)
def test_bad_pictures_are_refused(processor, image):
    with pytest.raises(ObservationError, match="image must"):
        processor([Message("What?", [image])])


def test_prompts_longer_than_the_model_reads_are_refused(processor):
    many = [picture(128, 128)] * 24
    with pytest.raises(ObservationError, match=r"and the model reads 512"):
        processor([Message("What?", many)])


def test_arguments_that_do_not_fit_together_are_refused(plain_config):
    image = plain_config.tokens.image
    ids = torch.tensor([[768, image, 5]])
    tiles, sizes = torch.zeros(1, 2, 3, 64, 64), torch.tensor([[[1, 2]]])
    ModelInputs.of(ids, tiles, sizes, None, plain_config)
    for arguments, reason in [
        ((ids, None, None, None), "has 1 <image> tokens, 0 image_sizes"),
        ((ids, tiles[:, :1], sizes, None), "with 2 tiles, and 1 tiles"),
        ((ids, tiles[0], sizes, None), "need a batch axis"),
        ((ids, tiles, sizes[0], None), "image_sizes must be"),
        ((ids, tiles, sizes, torch.tensor([[1, 1, 0]])), "zeros on the left only"),
        ((ids, tiles, sizes, torch.tensor([[1, 0, 1]])), "zeros on the left only"),
        ((ids[0], tiles, sizes, None), "must be \\(batch, length\\)"),
        ((ids + 600, tiles, sizes, None), "must lie in 0..1028"),
    ]:
        with pytest.raises(ValueError, match=reason):
            ModelInputs.of(*arguments, plain_config)
