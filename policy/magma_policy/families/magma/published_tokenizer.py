"""The tokenizer of a published Magma, as its two files describe it together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from magma_contracts.errors import ConfigError
from magma_contracts.files.typed_tables import naming
from magma_policy.errors import shown
from magma_policy.families.magma.config import TokenConfig
from magma_policy.families.magma.tokenizer import MagmaTokenizer
from magma_policy.files.json_files import read_optional_object
from magma_policy.files.tokenizer_files import read_tokenizer


def read_published_tokenizer(path: Path, declarations: Path) -> MagmaTokenizer:
    """The tokenizer of tokenizer.json, with the tokens that `declarations`, tokenizer_config.json, names beside it.

    Raises ConfigError for one that lacks Magma's tokens, and for files that contradict each other.
    """
    tokenizer = read_tokenizer(path)
    _add_declared_tokens(tokenizer, declarations, path.name)
    ids: dict[str, int | None] = {}
    for field, name in MagmaTokenizer.SPECIAL_NAMES.items():
        id_ = tokenizer.token_to_id(name)
        if id_ is None and field != "action":
            raise ConfigError(f"{path}: has no token {name}")
        ids[field] = id_
    base = tokenizer.get_vocab_size(with_added_tokens=False)
    with naming(path):
        return MagmaTokenizer(tokenizer, TokenConfig(base_vocab_size=base, **ids))  # type: ignore[arg-type]


def _add_declared_tokens(tokenizer: Tokenizer, path: Path, home: str) -> None:
    """Tokens that only tokenizer_config.json names are added under their ids, as transformers does."""
    declared = read_optional_object(path).get("added_tokens_decoder", {})
    if not isinstance(declared, dict):
        raise ConfigError(f"{path}: added_tokens_decoder must be an object, got {shown(declared)}")
    for id_, entry in sorted(declared.items(), key=lambda item: (len(item[0]), item[0])):
        content = entry.get("content") if isinstance(entry, dict) else None
        # Also other scripts have digits, and Python refuses to read thousands of them.
        if not isinstance(content, str) or not re.fullmatch(r"[0-9]{1,9}", id_):
            raise ConfigError(f"{path}: added_tokens_decoder entry {shown(id_)} is not a token: {shown(entry)}")
        if tokenizer.token_to_id(content) is None:
            flags = {name: bool(entry.get(name, False)) for name in ("single_word", "lstrip", "rstrip", "normalized")}
            tokenizer.add_tokens([AddedToken(content, special=bool(entry.get("special", False)), **flags)])
        if tokenizer.token_to_id(content) != int(id_):
            raise ConfigError(
                f"{path}: token {content!r} is declared as {id_}, but {home} makes it {tokenizer.token_to_id(content)}"
            )


def check_vocabulary_entry(stated: Any, tokens: TokenConfig, rows: Any, where: Path, home: str) -> None:
    """`tokenizer_vocab_size` marks the end of the action ids in the original's training code.

    Its published value is not documented: the base vocabulary, or a count that includes the added tokens. Anything else
    means that the tokenizer is another one than the model was trained with, and the action ids would be wrong.
    """
    if stated is None:
        return
    if not isinstance(stated, int) or isinstance(stated, bool) or stated <= 0:
        raise ConfigError(f"{where}: tokenizer_vocab_size must be a positive integer, got {shown(stated)}")
    if (
        stated != tokens.base_vocab_size
        and stated != rows
        and not tokens.total_size <= stated <= tokens.total_size + 64
    ):
        raise ConfigError(
            f"{where}: tokenizer_vocab_size {shown(stated)} fits neither the base vocabulary of "
            f"{tokens.base_vocab_size} nor all {tokens.total_size} tokens of {home}"
        )
