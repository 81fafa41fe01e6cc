"""KOSMOS-2 (Peng et al. 2023, arXiv 2306.14824), a model that points: its front.

`load_grounder` and `benchmark_model` are the registry's doors; the rest is for training.
"""

from magma_policy.families.kosmos2.benchmark_model import BenchmarkModel
from magma_policy.families.kosmos2.images import normalised, stretched
from magma_policy.families.kosmos2.initialise import (
    LATENT_GRID,
    SIDE,
    align_resampler,
    continued,
    renew_places,
    renew_text,
    small_network,
    write_grid,
)
from magma_policy.families.kosmos2.locations import encode_boxes
from magma_policy.families.kosmos2.model import Kosmos2
from magma_policy.families.kosmos2.network import Network, parameters, save
from magma_policy.families.kosmos2.network import load as load_network
from magma_policy.families.kosmos2.prompts import Example, Mention, Prompt, mentioned
from magma_policy.families.kosmos2.prompts import answer as answer_prompt
from magma_policy.families.kosmos2.prompts import describe as describe_prompt
from magma_policy.families.kosmos2.prompts import locate as locate_prompt
from magma_policy.families.kosmos2.prompts import refer as refer_prompt
from magma_policy.families.kosmos2.vocabulary import Vocabulary, build_small_tokenizer

__all__ = [
    "LATENT_GRID",
    "SIDE",
    "Example",
    "Kosmos2",
    "Mention",
    "Network",
    "Prompt",
    "Vocabulary",
    "align_resampler",
    "answer_prompt",
    "benchmark_model",
    "build_small_tokenizer",
    "continued",
    "describe_prompt",
    "encode_boxes",
    "load_grounder",
    "load_network",
    "locate_prompt",
    "mentioned",
    "normalised",
    "parameters",
    "refer_prompt",
    "renew_places",
    "renew_text",
    "save",
    "small_network",
    "stretched",
    "write_grid",
]

load_grounder = Kosmos2.load
benchmark_model = BenchmarkModel
