"""Which nouns of a caption stand side by side: conjuncts, and lists whose commas a parser takes for appositions.

spaCy's small model reads "the blue block, the block in front and the carrot" as it reads "Fido, a brown dog": the
second noun says again what the first one is. An apposition of a list is a conjunct here, a thing of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Token

SEPARATORS = (",", ";")
"""Between members of a list; what stands in brackets or behind a dash or a colon is no list."""
NAME, DEFINITE, INDEFINITE, BARE = "name", "definite", "indefinite", "bare"
KINDS = {"the": DEFINITE, "this": DEFINITE, "that": DEFINITE, "these": DEFINITE, "those": DEFINITE}
RENAMED = {
    *((NAME, kind) for kind in (DEFINITE, INDEFINITE, BARE)),
    (DEFINITE, INDEFINITE),
    (DEFINITE, NAME),
    (INDEFINITE, NAME),
}
"""A noun and one behind it that may say again what it is: "Paris, the capital", "my brother, a tall man", "a dog,
Fido". Two of a kind, "a dog, a cat", are two things."""


def coordination(noun: Token) -> list[Token]:
    """The nouns that stand side by side with this one, itself among them, in the caption's order."""
    first = noun
    while _beside(first):
        first = first.head
    found, waiting = [], [first]
    while waiting:
        token = waiting.pop()
        found.append(token)
        waiting += [child for child in token.children if _beside(child)]
    return sorted(found, key=lambda token: token.i)


def is_listed(token: Token) -> bool:
    """Whether an apposition is the next member of a list, and no other name for the noun that it hangs on.

    It is where it has conjuncts or stands in a row of several, where both have the same noun ("the red cup, the blue
    cup"), and where no comma closes it and their articles are not those of a thing and its other name.
    """
    noun = token.head
    if token.dep_ != "appos" or token.pos_ not in ("NOUN", "PROPN") or not _separated(noun, token):
        return False
    row = [child for child in noun.children if child.dep_ == "appos"]
    inner = [child for child in token.children if child.dep_ in ("appos", "conj")]
    if len(row) > 1 or noun.dep_ == "appos" or inner or token.lower_ == noun.lower_:
        return True
    return not _closed(token) and (_kind(noun), _kind(token)) not in RENAMED


def _beside(token: Token) -> bool:
    return token.dep_ == "conj" or is_listed(token)


def _separated(noun: Token, token: Token) -> bool:
    """Whether a separator of lists stands right before an apposition."""
    start = token.left_edge.i
    return start > noun.i + 1 and token.doc[start - 1].text in SEPARATORS


def _closed(token: Token) -> bool:
    """Whether a comma ends an apposition and what is said of its noun goes on: "the spoon, a shiny thing, lies"."""
    doc, end = token.doc, token.right_edge.i + 1
    return end < len(doc) and doc[end].text in SEPARATORS and token.head.head.i > end


def _kind(noun: Token) -> str:
    """How a noun is introduced."""
    for child in noun.children:
        if child.dep_ == "poss":
            return DEFINITE
        if child.dep_ in ("det", "nummod"):
            return KINDS.get(child.lower_, INDEFINITE)
    return NAME if noun.pos_ == "PROPN" else BARE
