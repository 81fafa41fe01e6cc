"""Where a model runs and in which numbers."""

from __future__ import annotations

import torch

from magma_contracts.errors import ConfigError

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" takes CUDA, else Apple's GPU, else the CPU. ConfigError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device must be auto, cpu, cuda or mps, got {name!r}") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"device must be auto, cpu, cuda or mps, got {name!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' asked for, but torch sees no CUDA GPU here; use auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' asked for, but torch sees no Apple GPU here; use auto or cpu")
    return device


def pick_dtype(dtype: torch.dtype | str | None, device: torch.device, quantization: str | None) -> torch.dtype:
    """float32 on the CPU, bfloat16 elsewhere and with fp8, unless asked for otherwise. ConfigError for other types."""
    if dtype is None:
        return torch.float32 if device.type == "cpu" and quantization != "fp8" else torch.bfloat16
    found = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if found not in DTYPES.values():
        raise ConfigError(f"dtype must be one of {sorted(DTYPES)}, got {dtype!r}")
    return found
