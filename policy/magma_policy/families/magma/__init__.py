"""Magma, from magma-tiny to Magma-8B: its front.

`load` is the registry's door; what training, `magma-init` and measurements of a Magma need stands beside it. Everything
else in this folder is the family's own.
"""

from magma_policy.families.magma.checkpoint import TOKENIZER, describe, load_model, save
from magma_policy.families.magma.config import ImageConfig, MagmaConfig, VisionConfig, magma_tiny_config
from magma_policy.families.magma.initialise import RandomCheckpoint, initialise_weights, write_random
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.model_inputs import ModelInputs
from magma_policy.families.magma.policy import Policy
from magma_policy.families.magma.processor import Processor
from magma_policy.families.magma.projector import visual_token_count
from magma_policy.families.magma.prompt import robot_prompt, split_head, text_prompt
from magma_policy.families.magma.tiling import choose_grid, tile_images
from magma_policy.families.magma.tokenizer import MagmaTokenizer, build_small_tokenizer

__all__ = [
    "TOKENIZER",
    "ImageConfig",
    "Magma",
    "MagmaConfig",
    "MagmaTokenizer",
    "ModelInputs",
    "Policy",
    "Processor",
    "RandomCheckpoint",
    "VisionConfig",
    "build_small_tokenizer",
    "choose_grid",
    "describe",
    "initialise_weights",
    "load",
    "load_model",
    "magma_tiny_config",
    "robot_prompt",
    "save",
    "split_head",
    "text_prompt",
    "tile_images",
    "visual_token_count",
    "write_random",
]

load = Policy.load
