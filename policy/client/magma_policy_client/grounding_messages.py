"""The messages between a client of a model that points and its server; on the wire as those of a policy (`codec`).

    client                                          server
      GroundingHello           ->                             protocol version
                               <-   GroundingWelcome          version, the model's name and identity, limits
      Ground / Refer / Name /  ->                             sequence chosen by the client, rising
      Describe / Ask
                               <-   Found / Called / Named / Told / messages.Failure with the same sequence

Pictures are uint8 (H, W, 3) rgb, boxes fractions of them. Deadlines travel as the time that is left.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from magma_contracts.grounding import Entity, Expression, GroundedText, Grounding, NamedPlace, Which
from magma_policy_client import codec
from magma_policy_client.codec import (
    Check,
    Codec,
    array,
    budget,
    identity,
    image,
    integer,
    label,
    one_of,
    optional,
    sequence,
    short,
    size,
    text,
    version,
)
from magma_policy_client.errors import ProtocolError
from magma_policy_client.messages import FAILURE_CODES, Failure

GROUNDING_VERSION = 1
"""Rises with every change that an older peer would misread; apart from that of policies."""
HELLO, WELCOME = "grounding_hello", "grounding_welcome"
MAX_PHRASES = 64
MAX_ENTITIES = 256
MAX_BOXES = 4096
MAX_LONG_TEXT = 65_536
"""Characters of a description."""
WHICH = typing.get_args(Which)


@dataclass(frozen=True)
class GroundingHello:
    """First message of a client."""

    protocol: int
    client: str


@dataclass(frozen=True)
class GroundingWelcome:
    """The server's answer: which model points here, by name and by content ("" where that is not known)."""

    protocol: int
    server: str
    model: str
    max_message_bytes: int
    identity: str


@dataclass(frozen=True)
class Ground:
    """Asks where phrases are, within `budget_s` seconds from arrival."""

    sequence: int
    budget_s: float
    image: np.ndarray
    phrases: tuple[str, ...]
    which: Which


@dataclass(frozen=True)
class Refer:
    """Asks what stands at a box (4,)."""

    sequence: int
    budget_s: float
    image: np.ndarray
    box: np.ndarray


@dataclass(frozen=True)
class Name:
    """Asks for a name that leads back to a place (4,); a click is a box without area."""

    sequence: int
    budget_s: float
    image: np.ndarray
    place: np.ndarray


@dataclass(frozen=True)
class Describe:
    """Asks for a caption."""

    sequence: int
    budget_s: float
    image: np.ndarray
    detailed: bool


@dataclass(frozen=True)
class Ask:
    """Asks a question in words."""

    sequence: int
    budget_s: float
    image: np.ndarray
    question: str


@dataclass(frozen=True)
class Found:
    """Where each phrase is."""

    sequence: int
    found: tuple[Grounding, ...]


@dataclass(frozen=True)
class Called:
    """What stands at a box."""

    sequence: int
    expression: Expression


@dataclass(frozen=True)
class Named:
    """A name that leads back."""

    sequence: int
    named: NamedPlace


@dataclass(frozen=True)
class Told:
    """A caption or an answer."""

    sequence: int
    told: GroundedText


Question = Ground | Refer | Name | Describe | Ask
Message = GroundingHello | GroundingWelcome | Question | Found | Called | Named | Told | Failure

TYPES: dict[str, type] = {
    HELLO: GroundingHello,
    WELCOME: GroundingWelcome,
    "ground": Ground,
    "refer": Refer,
    "name": Name,
    "describe": Describe,
    "ask": Ask,
    "found": Found,
    "called": Called,
    "named": Named,
    "told": Told,
    "failure": Failure,
}


def _listed(check: Check, most: int, least: int = 0) -> Check:
    def checked(value: Any, name: str) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or not least <= len(value) <= most:
            raise ProtocolError(f"{name} must be a list of {least} to {most}, got {short(value)}")
        return tuple(check(item, f"{name}[{index}]") for index, item in enumerate(value))

    return checked


def _long_text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_LONG_TEXT:
        raise ProtocolError(f"{name} must be text of at most {MAX_LONG_TEXT} characters, got {short(value)}")
    return value


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ProtocolError(f"{name} must be true or false, got {short(value)}")
    return value


def _share(value: Any, name: str) -> float:
    if not isinstance(value, float) or not 0.0 <= value <= 1.0:
        raise ProtocolError(f"{name} must be a number from 0 to 1, got {short(value)}")
    return value


def _count(value: Any, name: str) -> int:
    return integer(value, name, 0, 2**31)


def _box(value: Any, name: str) -> np.ndarray:
    return _finite(array(value, name, np.float64, (4,)), name)


def _boxes(value: Any, name: str) -> np.ndarray:
    boxes = _finite(array(value, name, np.float64, (None, 4)), name)
    if len(boxes) > MAX_BOXES:
        raise ProtocolError(f"{name} must be at most {MAX_BOXES} boxes, got {len(boxes)}")
    return boxes


def _numbers(value: Any, name: str) -> np.ndarray:
    return array(value, name, np.float64, (None,))


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ProtocolError(f"{name} must be finite, got {short(values)}")
    return values


def _part(cls: Callable[..., Any], checks: dict[str, Check]) -> Check:
    """A dataclass within a message, as a map of its fields."""

    def checked(value: Any, name: str) -> Any:
        if not isinstance(value, dict) or set(value) != set(checks):
            raise ProtocolError(f"{name} must have the fields {', '.join(checks)}, got {short(value)}")
        made = cls(**{key: check(value[key], f"{name}.{key}") for key, check in checks.items()})
        if isinstance(made, (Grounding, Entity)) and len(made.boxes) != len(made.confidences):
            raise ProtocolError(f"{name} has {len(made.boxes)} boxes and {len(made.confidences)} confidences")
        return made

    return checked


def _span(value: Any, name: str) -> tuple[int, int]:
    start, end = _listed(_count, 2, 2)(value, name)
    return start, end


_GROUNDING = _part(Grounding, {"phrase": text, "boxes": _boxes, "confidences": _numbers, "presence": _share})
_ENTITY = _part(Entity, {"phrase": _long_text, "span": _span, "boxes": _boxes, "confidences": _numbers})
_EXPRESSION = _part(Expression, {"text": _long_text, "probability": _share})
_NAMED = _part(
    NamedPlace, {"phrase": _long_text, "box": _box, "agreement": _share, "confidence": _share, "presence": _share}
)
_TOLD = _part(GroundedText, {"text": _long_text, "entities": _listed(_ENTITY, MAX_ENTITIES), "malformed": _count})
_QUESTION: dict[str, Check] = {"sequence": sequence, "budget_s": budget, "image": image}
_CHECKS: dict[type, dict[str, Check]] = {
    GroundingHello: {"protocol": version, "client": label},
    GroundingWelcome: {
        "protocol": version,
        "server": label,
        "model": label,
        "max_message_bytes": size,
        "identity": identity,
    },
    Ground: {**_QUESTION, "phrases": _listed(text, MAX_PHRASES), "which": one_of(WHICH)},
    Refer: {**_QUESTION, "box": _box},
    Name: {**_QUESTION, "place": _box},
    Describe: {**_QUESTION, "detailed": _flag},
    Ask: {**_QUESTION, "question": text},
    Found: {"sequence": sequence, "found": _listed(_GROUNDING, MAX_PHRASES)},
    Called: {"sequence": sequence, "expression": _EXPRESSION},
    Named: {"sequence": sequence, "named": _NAMED},
    Told: {"sequence": sequence, "told": _TOLD},
    Failure: {"sequence": optional(sequence), "code": one_of(FAILURE_CODES), "message": text},
}
_PARTS = (Grounding, Entity, Expression, GroundedText, NamedPlace)


def _plain(value: Any) -> Any:
    """The form on the wire of a field's value."""
    if isinstance(value, _PARTS):
        return {name: _plain(part) for name, part in vars(value).items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


_CODEC = Codec(TYPES, _CHECKS, _plain)


def encode(message: Message) -> bytes:
    """A message as bytes. Raises ProtocolError for a value the other side would reject."""
    return _CODEC.encode(message)


def decode(data: bytes) -> Message:
    """Bytes to a message. Raises ProtocolError for anything else."""
    return typing.cast(Message, _CODEC.decode(data))


def peek_version(data: bytes) -> int:
    """Protocol version of a GroundingHello or GroundingWelcome of any version. Raises ProtocolError."""
    return codec.peek_version(data, (HELLO, WELCOME), "a hello or welcome of a model that points")
