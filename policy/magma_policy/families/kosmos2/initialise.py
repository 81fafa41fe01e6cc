"""A new small KOSMOS-2: its sizes, and a start that knows that pictures and places are grids.

The published model starts from CLIP and a language model. A small one that starts from nothing would have to find out
first that its features come from a grid of patches and its location tokens name a grid of cells; what is set here says
so, and everything is trained from there.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from magma_policy.families.kosmos2.network import Geometry, Network, build
from magma_policy.families.kosmos2.vocabulary import Vocabulary

LATENT_GRID = 8
"""Features of a picture along each side: a grid of 8 x 8 = 64, as many as the published model has."""
SIDE = 128
"""Of the pictures that a small model sees, in pixels."""
_GRID_SCALE = 0.05
"""Of the location embeddings, about that of the other embeddings."""
_GAIN = 1.6
"""Of the resampler's queries and keys: a feature then looks at the patches near its own cell."""
_RIDGE = 1e-3
_NAMES_WEIGHED = 8
"""Of a small model, which finds better than it names. On held-out scenes (validation) one of 8 names of kosmos-tiny was
right for 98 to 100 % of the things."""
_PATCH_PLACES = "vision_model.model.embeddings.position_embedding.weight"


def small_network(
    vocabulary: Vocabulary,
    image_side: int = SIDE,
    positions: int = 1024,
    attention: str = "sdpa",
    *,
    scale: int = 1,
    soft: bool = True,
) -> Network:
    """A network of 1.3 million parameters for square pictures, with random weights from torch's generator.

    Args:
        scale: multiplies widths and heads, and so the parameters by about its square.
        soft: whether it is to learn places from soft labels.
    """
    network = build(
        Geometry(
            image_side=image_side,
            patch=8,
            vision_width=96 * scale,
            vision_inner=384 * scale,
            vision_layers=3,
            vision_heads=3 * scale,
            text_width=128 * scale,
            text_inner=384 * scale,
            text_layers=4,
            text_heads=4 * scale,
            vocabulary=vocabulary.size,
            positions=positions,
            latents=vocabulary.latents,
            bins=vocabulary.bins,
            between_cells=soft,
            names_weighed=_NAMES_WEIGHED,
        ),
        attention,
    )
    write_grid(network, vocabulary)
    return network


def waves(points: Tensor, width: int, highest: float) -> Tensor:
    """Sines and cosines (N, width) of points (N, 2) in 0 … 1, half of them along x, half along y; neighbours are alike.

    Args:
        points: x, y.
        width: a multiple of 4.
        highest: waves across the picture of the finest.
    """
    frequencies = 2 * math.pi * torch.linspace(0.25, highest, width // 4)
    angles = points[:, :, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)


def grid_points(side: int) -> Tensor:
    """Middles (side * side, 2) of a grid's cells, x and y in 0 … 1, row by row."""
    steps = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


@torch.no_grad()
def continued(network: Network, image_side: int, *, soft: bool = True) -> Network:
    """The same network to be trained on soft labels of places, or on hard ones, and pictures of this side. Its patches
    stay as large as they are: there may be more or fewer, and the embeddings of their places are interpolated. The
    given one stays."""
    geometry = dataclasses.replace(network.geometry, image_side=image_side, between_cells=soft)
    before, after = (one.image_side // one.patch for one in (network.geometry, geometry))
    found = build(geometry)
    state = network.model.state_dict()
    if before != after:
        table = state[_PATCH_PLACES]
        grid = table[1:].T.reshape(1, -1, before, before).float()
        larger = nn.functional.interpolate(grid, size=(after, after), mode="bicubic", align_corners=False)
        state[_PATCH_PLACES] = torch.cat([table[:1], larger[0].flatten(1).T.to(table.dtype)])
    found.model.load_state_dict(state)
    return Network(geometry, found.model.to(network.device, network.dtype).eval())


@torch.no_grad()
def renew_text(network: Network) -> None:
    """Gives the text model, words and places, a random start from torch's generator; what sees stays as it is."""
    fresh = build(network.geometry).model.text_model
    network.model.text_model.load_state_dict(fresh.state_dict())


@torch.no_grad()
def renew_places(network: Network, vocabulary: Vocabulary) -> None:
    """Gives the location tokens random embeddings from torch's generator, as small as the library's: trained words'
    are larger, and what begins as large as they are is unlearned for hundreds of steps first."""
    table = network.model.text_model.model.embed_tokens.weight
    places = table[vocabulary.first_place : vocabulary.size]
    places.copy_(torch.randn(places.shape).to(table) * network.model.config.text_config.init_std)


@torch.no_grad()
def write_grid(network: Network, vocabulary: Vocabulary) -> None:
    """Gives the location tokens embeddings in which neighbouring cells are alike."""
    table = network.model.text_model.model.embed_tokens.weight
    found = waves(grid_points(vocabulary.bins), table.shape[1], vocabulary.bins / 4)
    table[vocabulary.first_place : vocabulary.size] = _GRID_SCALE * found


@torch.no_grad()
def align_resampler(network: Network, patch_features: Tensor, generator: torch.Generator) -> None:
    """Lets each of the resampler's features look at its own part of the picture first.

    Half of the resampler's width gets the place of a patch, fitted to what the vision tower gives of it; the other half
    what else is there, by chance. Queries and keys compare places; values and outputs pass everything on.

    Args:
        network: its vision tower as it is now.
        patch_features: (B, 1 + patches, vision width) of some pictures.
        generator: the source of chance.
    """
    projection = network.model.image_to_text_projection
    width, latents = network.geometry.text_width, network.geometry.latents
    half = width // 2
    patches = network.geometry.image_side // network.geometry.patch
    side = math.isqrt(latents)
    targets = waves(grid_points(patches), half, LATENT_GRID / 2)
    seen = patch_features[:, 1:].reshape(-1, patch_features.shape[2]).double()
    wanted = targets.repeat(len(patch_features), 1).double()
    rows = torch.cat([seen, torch.ones(len(seen), 1, dtype=torch.float64)], dim=1)
    gram = rows.T @ rows + _RIDGE * len(rows) / rows.shape[1] * torch.eye(rows.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(gram, rows.T @ wanted).float()
    projection.dense.weight[:half], projection.dense.bias[:half] = solution[:-1].T, solution[-1]
    projection.dense.weight[half:] = _random(projection.dense.weight[half:].shape, generator)
    projection.dense.bias[half:] = 0.0
    projection.latent_query[:, :half] = waves(grid_points(side), half, LATENT_GRID / 2)[:latents]
    projection.latent_query[:, half:] = 0.0
    attention = projection.x_attn
    head_width = width // network.geometry.text_heads
    shared = _random((width, half), generator) / math.sqrt(head_width) * _GAIN
    for layer in (attention.q_proj, attention.k_proj):
        layer.weight.zero_()
        layer.weight[:, :half] = shared
        layer.bias.zero_()
    for layer in (attention.v_proj, attention.out_proj):
        nn.init.orthogonal_(layer.weight, generator=generator)
        layer.bias.zero_()


def _random(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)
