"""tokenizer.json, as Hugging Face's tokenizers write it."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, models

from magma_contracts.errors import ConfigError
from magma_policy.files.json_files import read_text


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a file, as the file has it. Raises ConfigError."""
    text = read_text(path)
    try:
        return Tokenizer.from_str(text)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises bare Exception for malformed files, and worse for odd ones
        raise ConfigError(f"{path}: not a tokenizer file ({error})") from error


def forget_other_tools_state(tokenizer: Tokenizer) -> None:
    """Sets what tools leave in tokenizer.json and the library then obeys: limits of length, padding, dropped merges,
    special tokens read as text. None of it is ours to follow."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = False
    if isinstance(tokenizer.model, models.BPE):
        tokenizer.model.dropout = None
