"""KOSMOS-2's tokens: text, tags and places, and the ids of each.

What people type goes to the text model of the tokenizer directly and past its list of tags, so that no text, however it
is spelt, becomes a tag: `<phrase>` typed by a person is eight characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from magma_contracts.errors import ConfigError
from magma_policy.families.kosmos2.locations import BINS
from magma_policy.files.tokenizer_files import forget_other_tools_state, read_tokenizer

SPACE = "▁"
"""Stands for the space in front of a word."""

# The first ids of the text model, and how many ids behind them are also the places of a picture's features.
BOS, PAD, EOS, UNKNOWN = "<s>", "<pad>", "</s>", "<unk>"
MASK = "<mask>"
FIRST_FEATURE_ID = 4

IMAGE_OPEN, IMAGE_CLOSE = "<image>", "</image>"
PHRASE_OPEN, PHRASE_CLOSE = "<phrase>", "</phrase>"
OBJECT_OPEN, OBJECT_CLOSE = "<object>", "</object>"
DELIMITER = "</delimiter_of_multi_objects/>"
GROUNDING = "<grounding>"
TAGS = (
    "</doc>",
    IMAGE_OPEN,
    IMAGE_CLOSE,
    "</chunk>",
    "</line>",
    PHRASE_OPEN,
    PHRASE_CLOSE,
    OBJECT_OPEN,
    OBJECT_CLOSE,
    DELIMITER,
    GROUNDING,
)
"""In the order of their ids, behind the text model's; the places follow."""


def place_name(cell: int) -> str:
    """The tag of a cell, such as "<patch_index_0044>"."""
    return f"<patch_index_{cell:04d}>"


class Vocabulary:
    """The ids of a KOSMOS-2 tokenizer, published or made here, checked one by one.

    Attributes:
        bins: cells along each side of the grid of places.
        latents: ids of a picture between its two tags; the features stand in their places.
        size: ids in all, which the model's table must have.
    """

    def __init__(self, tokenizer: Tokenizer, latents: int, bins: int = BINS) -> None:
        """
        Raises:
            ConfigError: the tokenizer is laid out otherwise.
        """
        self.tokenizer, self.latents, self.bins = tokenizer, latents, bins
        forget_other_tools_state(tokenizer)
        self.bos, self.pad, self.eos, self.unknown = (self._id(name) for name in (BOS, PAD, EOS, UNKNOWN))
        self._mask = tokenizer.token_to_id(MASK)
        self.image_open, self.image_close = self._id(IMAGE_OPEN), self._id(IMAGE_CLOSE)
        self.phrase_open, self.phrase_close = self._id(PHRASE_OPEN), self._id(PHRASE_CLOSE)
        self.object_open, self.object_close = self._id(OBJECT_OPEN), self._id(OBJECT_CLOSE)
        self.delimiter, self.grounding = self._id(DELIMITER), self._id(GROUNDING)
        self.first_place = self._id(place_name(0))
        self.size = self.first_place + bins * bins
        self._check()
        self.first_tag = self._id(TAGS[0])
        self.image_ids = (self.image_open, *range(FIRST_FEATURE_ID, FIRST_FEATURE_ID + latents), self.image_close)

    @classmethod
    def load(cls, path: Path, latents: int, bins: int = BINS) -> Vocabulary:
        """Read tokenizer.json. Raises ConfigError."""
        try:
            return cls(read_tokenizer(path), latents, bins)
        except ConfigError as error:
            raise ConfigError(str(error) if str(path) in str(error) else f"{path}: {error}") from error

    def _id(self, name: str) -> int:
        found = self.tokenizer.token_to_id(name)
        if found is None:
            raise ConfigError(f"not a tokenizer of KOSMOS-2: it has no token {name}")
        return int(found)

    def _check(self) -> None:
        expected = {BOS: 0, PAD: 1, EOS: 2, UNKNOWN: 3}
        first = self._id(TAGS[0])
        expected |= {tag: first + place for place, tag in enumerate(TAGS)}
        last = self.bins * self.bins - 1
        expected |= {place_name(last): first + len(TAGS) + last, place_name(0): first + len(TAGS)}
        for name, id_ in expected.items():
            if self._id(name) != id_:
                raise ConfigError(f"not a tokenizer of KOSMOS-2: {name} has the id {self._id(name)} instead of {id_}")
        if FIRST_FEATURE_ID + self.latents > first:
            raise ConfigError(f"the tokenizer has {first} text ids, too few for a picture of {self.latents} features")
        if self.tokenizer.get_vocab_size(with_added_tokens=True) != self.size:
            raise ConfigError(
                f"not a tokenizer of KOSMOS-2: it has {self.tokenizer.get_vocab_size(with_added_tokens=True)} tokens, "
                f"and {place_name(last)} should be the last of {self.size}"
            )

    def encode(self, text: str) -> list[int]:
        """Ids of a text of people's; never a tag, a place or a control token, except `unknown`."""
        ids: list[int] = []
        normalizer, splitter = self.tokenizer.normalizer, self.tokenizer.pre_tokenizer
        # Half of a surrogate pair, as broken input methods give them, is no character.
        text = text.encode("utf-8", "replace").decode()
        if normalizer is not None:
            text = normalizer.normalize_str(text)
        for piece, _ in splitter.pre_tokenize_str(text):
            for token in self.tokenizer.model.tokenize(piece):
                ids.append(token.id if self.is_text(token.id) else self.unknown)
        return ids

    def is_text(self, id_: int) -> bool:
        """Whether an id is a piece of text: none of the control tokens, tags and places."""
        return FIRST_FEATURE_ID <= id_ < self.first_tag and id_ != self._mask

    def is_place(self, id_: int) -> bool:
        """Whether an id names a cell of the grid."""
        return self.first_place <= id_ < self.size

    def place(self, cell: int) -> int:
        """The id of a cell."""
        return self.first_place + int(cell)

    def cell(self, id_: int) -> int:
        """The cell of a place's id."""
        return id_ - self.first_place

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, with a space in front of each word, the first too; ids that are no text are left out."""
        pieces = (self.tokenizer.id_to_token(id_) for id_ in ids if self.is_text(id_))
        return "".join(piece for piece in pieces if piece).replace(SPACE, " ")


def build_small_tokenizer(words: Sequence[str], latents: int, bins: int = BINS) -> Tokenizer:
    """A tokenizer in KOSMOS-2's layout that knows these words whole and spells all others in printable ASCII.

    Args:
        words: lower and upper case are told apart.
        latents: ids that a picture needs.
    """
    letters = [chr(code) for code in range(0x21, 0x7F)]
    pieces = [*(f"{SPACE}{word}" for word in dict.fromkeys(words)), SPACE, *letters, *(f"{SPACE}{x}" for x in letters)]
    pieces = list(dict.fromkeys(pieces))
    # A word is worth more than its letters, a letter with its space more than both apart.
    scored = [(piece, -1.0 if len(piece) > 2 else -6.0 if len(piece) == 2 else -8.0) for piece in pieces]
    room = max(0, latents - len(scored))
    scored += [(f"<reserved_{number}>", -1000.0) for number in range(room)]
    control = [(name, 0.0) for name in (BOS, PAD, EOS, UNKNOWN)]
    tokenizer = Tokenizer(models.Unigram([*control, *scored], unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(MASK, normalized=False)])
    places = [place_name(cell) for cell in range(bins * bins)]
    tokenizer.add_tokens([AddedToken(name, lstrip=True, normalized=False) for name in (*TAGS, *places)])
    return tokenizer
