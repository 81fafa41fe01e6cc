"""What is wrong with what a person gave, or with what a model made of it; without torch."""

from __future__ import annotations


class ConfigError(ValueError):
    """A configuration value is missing, unknown or out of range."""


class NotFiniteError(RuntimeError):
    """The model computed NaN, infinity, or the same number for every id: there is nothing to act on or to say."""

    @classmethod
    def of(cls, name: str, dtype: str) -> NotFiniteError:
        """The error of the model `name`, which computes in `dtype`, such as "float16"."""
        remedy = "load it with dtype bfloat16 or float32" if dtype == "float16" else "check its weights"
        return cls(
            f"{name} computed logits in {dtype} that are not finite, or equal for every id, so nothing is chosen from "
            f"them; {remedy}"
        )
