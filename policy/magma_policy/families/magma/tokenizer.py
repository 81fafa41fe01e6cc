"""Text to ids, for Magma's own `tokenizer.json` and for the small one that is made here.

The small tokenizer is a byte-level BPE with Llama-3's splitting rule, so it encodes any text, and Magma's layout: base
entries (whose last 256 are the action ids, which no text produces), Llama-3's 256 reserved tokens, Magma's five.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from magma_contracts.errors import ConfigError
from magma_contracts.files.typed_tables import naming
from magma_policy.families.magma.config import TokenConfig
from magma_policy.families.magma.prompt import ROBOT_QUESTION, SYSTEM_TEXT
from magma_policy.files.tokenizer_files import forget_other_tools_state, read_tokenizer
from magma_policy.inference.action_tokens import NUM_BINS

# Llama-3's pre-tokenizer pattern (its tokenizer.json).
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Words that instructions for table-top manipulation use; each becomes a single token of the small vocabulary.
INSTRUCTION_WORDS = (
    *(
        "put",
        "place",
        "move",
        "set",
        "lay",
        "drop",
        "pick",
        "grasp",
        "lift",
        "take",
        "up",
        "the",
        "a",
        "an",
        "it",
        "on",
    ),
    *("onto", "in", "into", "inside", "to", "top", "of", "over", "next", "and", "then", "carrot", "plate", "spoon"),
    *("towel", "cloth", "stack", "block", "cube", "green", "yellow", "eggplant", "basket", "bowl", "red", "blue"),
    *("orange", "purple"),
)


class MagmaTokenizer:
    """A `tokenizers.Tokenizer` whose special tokens were checked against the model's `TokenConfig`."""

    # Fields of TokenConfig and the tokens that they number.
    SPECIAL_NAMES: ClassVar[dict[str, str]] = {
        "begin_of_text": "<|begin_of_text|>",
        "start_header": "<|start_header_id|>",
        "end_header": "<|end_header_id|>",
        "end_of_turn": "<|eot_id|>",
        "pad": "<pad>",
        "image": "<image>",
        "action": "<action>",
        "image_start": "<image_start>",
        "image_end": "<image_end>",
    }

    def __init__(self, tokenizer: Tokenizer, tokens: TokenConfig) -> None:
        expected = {name: getattr(tokens, field) for field, name in self.SPECIAL_NAMES.items()}
        wrong = {
            name: tokenizer.token_to_id(name) for name, id_ in expected.items() if tokenizer.token_to_id(name) != id_
        }
        if wrong:
            raise ConfigError(
                f"tokenizer does not fit the model: {wrong}, expected { ({n: expected[n] for n in wrong}) }"
            )
        self.tokenizer = tokenizer
        self.tokens = tokens
        self._forget_other_tools_state()
        added = tokenizer.get_added_tokens_decoder().values()
        self._special_names = [token.content for token in added if token.special]
        self._literal: Tokenizer | None = None
        self._lock = threading.Lock()
        bos = tokens.begin_of_text
        if self.encode("<|begin_of_text|>") != [bos, bos]:
            raise ConfigError(
                f"encoding must put one <|begin_of_text|> ({bos}) in front, as the published one does, and nothing "
                f"behind; it makes {self.encode('<|begin_of_text|>')} of '<|begin_of_text|>'"
            )

    def _forget_other_tools_state(self) -> None:
        """As the function of that name, and special tokens swallow no white space beside them."""
        forget_other_tools_state(self.tokenizer)
        known = [name for name in self.SPECIAL_NAMES.values() if self.tokenizer.token_to_id(name) is not None]
        self.tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in known])

    @classmethod
    def load(cls, path: Path, tokens: TokenConfig) -> MagmaTokenizer:
        """Read tokenizer.json; raises ConfigError when it is missing, malformed or laid out otherwise."""
        with naming(path):
            return cls(read_tokenizer(path), tokens)

    @property
    def highest_id(self) -> int:
        """The largest id of any token."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values())

    def save(self, path: Path) -> None:
        path.write_text(self.tokenizer.to_str(pretty=True), encoding="utf-8")

    def encode(self, text: str) -> list[int]:
        """Ids of `text` with one begin-of-text prepended, as the original processor does (prompts bring their own)."""
        return list(self.tokenizer.encode(text, add_special_tokens=True).ids)

    def literal(self, text: str) -> list[int]:
        """Ids of people's words, nothing in front; what looks like a special token is the characters it is made of."""
        if not any(name in text for name in self._special_names):
            return list(self.tokenizer.encode(text, add_special_tokens=False).ids)
        with self._lock:
            if self._literal is None:
                # A copy, since the switch is the whole tokenizer's and other threads encode prompts meanwhile.
                self._literal = Tokenizer.from_str(self.tokenizer.to_str())
                self._literal.encode_special_tokens = True
        return list(self._literal.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` without the special tokens; bytes that are no valid UTF-8 become replacement characters."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def decoder(self) -> TextStream:
        """A decoder of ids that come one at a time."""
        return TextStream(self.tokenizer)


class TextStream:
    """Turns ids into pieces of text; a character of several tokens is given out when its last byte is there."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = decoders.DecodeStream(skip_special_tokens=True)

    def add(self, id_: int) -> str:
        """The text that is certain now and was not before; often empty."""
        piece: str | None = self._stream.step(self._tokenizer, id_)
        return piece or ""


def _special_names() -> list[str]:
    reserved = iter(f"<|reserved_special_token_{i}|>" for i in range(251))
    fixed = {
        0: "<|begin_of_text|>",
        1: "<|end_of_text|>",
        6: "<|start_header_id|>",
        7: "<|end_header_id|>",
        9: "<|eot_id|>",
    }
    names = [fixed[i] if i in fixed else next(reserved) for i in range(256)]
    return [*names, "<pad>", "<image>", "<action>", "<image_start>", "<image_end>"]


def build_small_tokenizer(tokens: TokenConfig, extra_texts: Iterable[str] = ()) -> MagmaTokenizer:
    """Train the small tokenizer on the prompt template, the instruction words and `extra_texts`.

    Raises ConfigError when the base vocabulary is too small for 256 bytes and 256 action ids.
    """
    room = tokens.base_vocab_size - NUM_BINS
    if room < 256:
        raise ConfigError(
            f"base vocabulary of {tokens.base_vocab_size} cannot hold 256 bytes and {NUM_BINS} action ids"
        )
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    draft = Tokenizer(models.BPE())
    draft.pre_tokenizer = split
    trainer = trainers.BpeTrainer(
        vocab_size=room, min_frequency=1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    template = [SYSTEM_TEXT, "system\n\n", "user\n\n", "assistant\n\n", "\n" + ROBOT_QUESTION.format(task="put")]
    words = [f" {word}" for word in INSTRUCTION_WORDS]
    draft.train_from_iterator([*template * 4, *words * 2, *extra_texts], trainer)
    learned = json.loads(draft.to_str())["model"]
    vocab: dict[str, int] = learned["vocab"]
    for index in range(len(vocab), room):
        vocab[f"<unused_{index}>"] = index
    for index in range(NUM_BINS):
        vocab[f"<action_{index}>"] = room + index
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learned["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in _special_names()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", tokens.begin_of_text)]
    )
    return MagmaTokenizer(tokenizer, tokens)
