"""Training sequences of records: captions with phrases and places, in the published model's tags.

`<grounding>a <phrase>dog in a field</phrase><object><patch_index_0044><patch_index_0863></object> runs`: expressions
that lie in no other one, each with all of its boxes. What overlaps an earlier one without lying in it is left out, for
tags cannot cross.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magma_policy.families.kosmos2 import Mention, encode_boxes
from magma_policy.grit.records import Record, outermost

Box = tuple[float, float, float, float]


def mentions(record: Record) -> list[tuple[int, int, list[Box]]]:
    """Start, end and boxes of the expressions that a sequence tells, in order."""
    boxes: dict[tuple[int, int], list[Box]] = {}
    for one in outermost(record.expressions):
        boxes.setdefault((one.start, one.end), []).append(one.box)
    found: list[tuple[int, int, list[Box]]] = []
    for (start, end), own in sorted(boxes.items()):
        if not found or start >= found[-1][1]:
            found.append((start, end, own))
    return found


def parts(record: Record) -> list[str | Mention]:
    """A caption as text and mentions, for ids (`magma_policy.families.kosmos2.prompts.mentioned`)."""
    told: list[str | Mention] = []
    here = 0
    for start, end, boxes in mentions(record):
        told += [record.caption[here:start]] if record.caption[here:start].strip() else []
        told.append(Mention(record.caption[start:end], np.array(boxes)))
        here = end
    rest = record.caption[here:]
    return [*told, rest] if rest.strip() else told


def text(record: Record) -> str:
    """The sequence behind `</image>`, as the published model's tokenizer reads it."""
    said = ["<grounding>"]
    for part in parts(record):
        said.append(f"<phrase>{part.text}</phrase>{_places(part.boxes)}" if isinstance(part, Mention) else part)
    return "".join(said)


def _places(boxes: Sequence[Box] | np.ndarray) -> str:
    pairs = (f"<patch_index_{first:04d}><patch_index_{last:04d}>" for first, last in encode_boxes(np.asarray(boxes)))
    return f"<object>{'</delimiter_of_multi_objects/>'.join(pairs)}</object>"
