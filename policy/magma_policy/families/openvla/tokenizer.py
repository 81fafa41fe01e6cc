"""Text to ids with Llama-2's tokenizer, as OpenVLA was taught them."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from magma_contracts.errors import ConfigError
from magma_contracts.files.typed_tables import naming
from magma_policy.errors import InstructionError, shown
from magma_policy.files.tokenizer_files import forget_other_tools_state, read_tokenizer

BEGIN = "<s>"
SPACE = "▁"
"""Llama's sign for a space in front of a word; alone, the token that stood between prompt and action in training."""
LLAMA2_ENTRIES, LLAMA2_SPACE_ID = 32000, 29871
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
"""Tokens of the bytes that a character without a token of its own is written in."""
NOT_KNOWN = "\ue000"
"""For private use, so in nobody's vocabulary."""


class OpenVLATokenizer:
    """A `tokenizers.Tokenizer` of Llama's kind.

    Attributes:
        base_vocab_size: entries without those that were added; the last 256 are the action ids.
        begin: id of the begin of text.
        space: id of the empty word.
        highest_id: the largest id of any token.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises ConfigError for a tokenizer that is not laid out so."""
        forget_other_tools_state(tokenizer)
        self.tokenizer = tokenizer
        self.begin, self.space, *_ = (self._id(name) for name in (BEGIN, SPACE, *BYTES))
        self.base_vocab_size = tokenizer.get_vocab_size(with_added_tokens=False)
        self.highest_id = max(tokenizer.get_vocab(with_added_tokens=True).values())
        if self.base_vocab_size == LLAMA2_ENTRIES and self.space != LLAMA2_SPACE_ID:
            raise ConfigError(f"not Llama-2's tokenizer: {SPACE} has the id {self.space} instead of {LLAMA2_SPACE_ID}")
        self._require_bytes()
        self._added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]

    @classmethod
    def load(cls, path: Path) -> OpenVLATokenizer:
        """Read tokenizer.json. Raises ConfigError."""
        with naming(path):
            return cls(read_tokenizer(path))

    def _id(self, name: str) -> int:
        found = self.tokenizer.token_to_id(name)
        if found is None:
            raise ConfigError(f"not a tokenizer of Llama's kind: it has no token {name}")
        return int(found)

    def _require_bytes(self) -> None:
        """A character that came out as no token, or as the unknown one, would make another instruction of what was
        said."""
        try:
            found = self.tokenizer.encode(NOT_KNOWN, add_special_tokens=False).tokens
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library raises bare Exception, and worse, where its parts do not fit
            raise ConfigError(f"not a tokenizer of Llama's kind: it encodes no text ({shown(str(error))})") from error
        wanted = [BYTES[value] for value in NOT_KNOWN.encode()]
        if found[-len(wanted) :] != wanted:
            raise ConfigError(
                f"not a tokenizer of Llama's kind: a character that it does not know becomes {shown(found)} instead of "
                f"the character's bytes {wanted}"
            )

    def encode(self, prompt: str) -> list[int]:
        """Ids of a prompt: one begin of text in front, and behind it the empty word that training put there.

        Whether tokenizing gives that last id by itself hangs on the library's version, so it is added where it is not.
        """
        ids = [self.begin, *self.tokenizer.encode(prompt, add_special_tokens=False).ids]
        return ids if ids[-1] == self.space else [*ids, self.space]

    def check_words(self, words: str) -> None:
        """Raises InstructionError for people's words that hold a special token, such as `</s>`, as they are or in small
        letters, as the prompt has them."""
        found = next((token for token in self._added if token in words or token in words.lower()), None)
        if found is not None:
            raise InstructionError(f"instruction contains reserved markup {found!r}: {words!r}")
