import numpy as np
import pytest
import torch

from magma_policy.families.magma.config import ImageConfig
from magma_policy.families.magma.projector import MultiModalProjector, visual_token_count
from magma_policy.families.magma.tiling import candidate_grids, choose_grid, tile_image

MAGMA_IMAGE = ImageConfig(base_size=512, max_num_crops=4)


def test_eight_grids_in_the_published_order():
    assert candidate_grids(4) == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (3, 1), (4, 1)]


# (width, height), (rows, cols), visual tokens: computed from the published selection rule at 512 px.
TABLE = [
    ((224, 224), (1, 1), 272),
    ((256, 256), (1, 1), 272),
    ((512, 512), (1, 1), 272),
    ((640, 480), (1, 2), 528),
    ((640, 512), (1, 2), 528),
    ((768, 768), (2, 2), 1056),
    ((1024, 1024), (2, 2), 1056),
    ((1280, 720), (2, 2), 1056),
    ((1920, 1080), (2, 2), 1056),
    ((1080, 1920), (2, 2), 1056),
    ((1080, 2400), (3, 1), 816),
    ((300, 900), (2, 1), 544),
]


@pytest.mark.parametrize(("size", "grid", "tokens"), TABLE)
def test_grid_and_token_count(size, grid, tokens):
    assert choose_grid(*size, 512, 4) == grid
    assert visual_token_count(*grid, 16) == tokens


def test_tiles_are_normalised_and_row_major():
    image = np.zeros((1024, 1024, 3), dtype=np.uint8)
    image[:512, 512:, 0] = 255
    tiles, grid = tile_image(image, MAGMA_IMAGE)
    assert grid == (2, 2)
    assert tiles.shape == (4, 3, 512, 512)
    low = (0.0 - MAGMA_IMAGE.mean[0]) / MAGMA_IMAGE.std[0]
    high = (1.0 - MAGMA_IMAGE.mean[0]) / MAGMA_IMAGE.std[0]
    assert [float(tiles[i, 0, 256, 256]) for i in range(4)] == pytest.approx([low, high, low, low], abs=1e-5)


def test_resize_is_plain_bilinear_without_antialias():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    tiles, _ = tile_image(image, ImageConfig(base_size=20, max_num_crops=1))
    pixels = (image / 255.0 - np.array(MAGMA_IMAGE.mean)) / np.array(MAGMA_IMAGE.std)
    # At exactly half size without antialias every output is the mean of the four pixels around its centre.
    expected = pixels.reshape(20, 2, 20, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    assert tiles[0].numpy() == pytest.approx(expected, abs=1e-5)


def test_read_only_frames_are_accepted():
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image.flags.writeable = False
    tiles, _ = tile_image(image, ImageConfig(base_size=64, max_num_crops=1))
    assert tiles.shape == (1, 3, 64, 64)


def test_projector_stitches_tiles_and_closes_every_row():
    torch.manual_seed(0)
    projector = MultiModalProjector(4, 6)
    torch.nn.init.constant_(projector.row_seperator, 7.0)
    features = torch.randn(2 * 6, 4, 2, 2)
    tokens = projector(features, rows=2, cols=3)
    assert tokens.shape == (2, visual_token_count(2, 3, 2), 6)
    grid = tokens.view(2, 4, 7, 6)
    assert (grid[:, :, 6] == 7.0).all()
    # Picture 1, tile row 1, tile column 2, cell (0, 1) stands in feature row 2, column 5.
    tile = features[1 * 6 + 1 * 3 + 2]
    assert torch.allclose(grid[1, 2, 5], projector.proj(tile[:, 0, 1]), atol=1e-6)
