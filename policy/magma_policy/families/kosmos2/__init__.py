"""KOSMOS-2 (Peng et al. 2023, arXiv 2306.14824), a model that points: its front.

`load_grounder` is the registry's door; the rest is for training.
"""

from magma_policy.families.kosmos2 import prompts
from magma_policy.families.kosmos2.images import normalised, stretched
from magma_policy.families.kosmos2.initialise import LATENT_GRID, align_resampler, small_network
from magma_policy.families.kosmos2.locations import encode_boxes
from magma_policy.families.kosmos2.model import Kosmos2
from magma_policy.families.kosmos2.network import Geometry, Network, load, parameters, save
from magma_policy.families.kosmos2.vocabulary import Vocabulary, build_small_tokenizer

__all__ = [
    "LATENT_GRID",
    "Geometry",
    "Kosmos2",
    "Network",
    "Vocabulary",
    "align_resampler",
    "build_small_tokenizer",
    "encode_boxes",
    "load",
    "load_grounder",
    "normalised",
    "parameters",
    "prompts",
    "save",
    "small_network",
    "stretched",
]

load_grounder = Kosmos2.load
