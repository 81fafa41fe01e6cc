"""Weights and pictures that anybody makes alike: numpy's legacy generator gives the same numbers for ever."""

import zlib

import numpy as np


def recipe(name, shape):
    """Weights of a tensor."""
    x = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("gamma"):
        return 0.5 * x
    if len(shape) < 2:
        return 1 + 0.2 * x if name.endswith("weight") else 0.1 * x
    if "embed_tokens" in name:
        return x
    return x * np.float32(2.0 / np.sqrt(np.prod(shape[1:])))


def picture(seed, width, height):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)
