"""The body of a chat completion as what is asked: checked field by field, and nothing that is not kept is accepted."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from magma_contracts.text import printable
from magma_policy.families.interface import GenerationSettings, Message, Turn
from magma_policy.serving.chat.errors import ApiError, invalid
from magma_policy.serving.chat.pictures import Room, read_data_url

DEFAULT_TOKENS = 1024
"""Longest answer where a request names none; the model's own room may be less."""
MAX_MESSAGES = 256
MAX_STOPS = 4
SYSTEM = ("system", "developer")
_IGNORED = frozenset(
    {"user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier", "parallel_tool_calls"}
)
"""Fields that change nothing about the answer of a model that is here."""
_KEPT: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "store": (False,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none",),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
}
"""Fields that are accepted with the values that ask for nothing special, and otherwise refused."""
_READ = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "stream",
        "stream_options",
    }
)  # fmt: skip


@dataclass(frozen=True)
class ChatRequest:
    """One question to the model, and how it is to be answered."""

    model: str
    message: Message
    settings: GenerationSettings
    stop: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether the same request always gets the same answer."""
        return self.settings.temperature == 0 or self.settings.seed is not None


def read_request(body: bytes) -> ChatRequest:
    """Raises ApiError for a body that is no request, or asks for what is not done here."""
    data = _object(body)
    for name, value in data.items():
        if name in _KEPT and value is not None and not _among(value, _KEPT[name]):
            allowed = " or ".join(json.dumps(one) for one in _KEPT[name])
            raise invalid(f"{name} can only be {allowed} here, got {_shown(value)}", name, "unsupported_value")
        if name not in _KEPT and name not in _READ and name not in _IGNORED:
            raise invalid(f"unknown parameter {printable(name, 60)!r}", printable(name, 60), "unknown_parameter")
    model = data.get("model")
    if not isinstance(model, str) or not model:
        raise invalid("model must name the model; GET /v1/models lists it", "model", "missing_required_parameter")
    stream = _boolean(data.get("stream"), "stream")
    options = data.get("stream_options")
    if options is not None and (not isinstance(options, dict) or not set(options) <= {"include_usage"} or not stream):
        raise invalid("stream_options can only hold include_usage, and needs stream", "stream_options")
    include = _boolean((options or {}).get("include_usage"), "stream_options.include_usage")
    return ChatRequest(
        model, _message(data.get("messages")), _settings(data), _stops(data.get("stop")), stream, include
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {printable(error, 200)}", None, "invalid_json") from error
    if not isinstance(data, dict):
        raise ApiError(400, f"the body must be a JSON object, got {type(data).__name__}", None, "invalid_type")
    return data


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _among(value: Any, allowed: tuple[Any, ...]) -> bool:
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed)


def _shown(value: Any) -> str:
    return printable(json.dumps(value), 80)


def _boolean(value: Any, name: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise invalid(f"{name} must be true or false, got {_shown(value)}", name, "invalid_type")
    return bool(value)


def _number(value: Any, name: str, low: float, high: float, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise invalid(f"{name} must be a number, got {_shown(value)}", name, "invalid_type")
    if not (low <= value <= high and math.isfinite(value)):
        raise invalid(f"{name} must be from {low:g} to {high:g}, got {_shown(value)}", name)
    return float(value)


def _integer(value: Any, name: str, low: int, high: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(f"{name} must be an integer, got {_shown(value)}", name, "invalid_type")
    if not low <= value <= high:
        raise invalid(f"{name} must be from {low} to {high}, got {_shown(value)}", name, "integer_out_of_range")
    return value


def _settings(data: dict[str, Any]) -> GenerationSettings:
    """Temperature 0 where none is named: questions with right answers are what is asked here."""
    lengths = {_integer(data.get(name), name, 1, 2**20) for name in ("max_tokens", "max_completion_tokens")} - {None}
    if len(lengths) > 1:
        raise invalid("max_tokens and max_completion_tokens differ; give one of them", "max_completion_tokens")
    temperature = _number(data.get("temperature"), "temperature", 0.0, 2.0, 0.0)
    top_p = _number(data.get("top_p"), "top_p", 0.0, 1.0, 1.0)
    if top_p == 0:
        raise invalid("top_p must be more than 0 and at most 1; temperature 0 takes the likeliest word", "top_p")
    seed = _integer(data.get("seed"), "seed", -(2**63), 2**63 - 1)
    return GenerationSettings(
        max_new_tokens=next(iter(lengths), None) or DEFAULT_TOKENS,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )


def _stops(value: Any) -> tuple[str, ...]:
    words = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(words, list) or len(words) > MAX_STOPS or not all(isinstance(w, str) and w for w in words):
        raise invalid(f"stop must be a text or at most {MAX_STOPS} texts, none of them empty", "stop")
    return tuple(words)


def _message(messages: Any) -> Message:
    """A conversation as one message: words of the system, then questions and answers in turn, then the question."""
    if not isinstance(messages, list) or not messages:
        raise invalid("messages must be a list of at least one message", "messages", "missing_required_parameter")
    if len(messages) > MAX_MESSAGES:
        raise invalid(f"at most {MAX_MESSAGES} messages are read, got {len(messages)}", "messages")
    room, said = Room(), []
    for number, one in enumerate(messages):
        said.append(_said(one, f"messages[{number}]", room))
    system = None
    if said[0].role in SYSTEM:
        system, said = said[0].text, said[1:]
    for number, one in enumerate(said):
        wanted = "assistant" if number % 2 else "user"
        if one.role != wanted:
            raise invalid(
                f"{one.param}.role is {one.role!r} where {wanted!r} should come: one system message may stand first, "
                "then user and assistant take turns",
                f"{one.param}.role",
            )
    if len(said) % 2 == 0:
        raise invalid("the last message must be the user's question", "messages")
    details = {detail for one in said for detail in one.details}
    if "low" in details and len(details) > 1:
        raise invalid("give all pictures of a request the same detail", "messages")
    earlier = [
        Turn(asked.text, answered.text, len(asked.pictures))
        for asked, answered in zip(said[:-1:2], said[1::2], strict=True)
    ]
    return Message(
        said[-1].text,
        [picture for one in said for picture in one.pictures],
        system,
        1 if details == {"low"} else None,
        earlier,
        literal=True,
    )


@dataclass(frozen=True)
class _Said:
    """A message: its words, and its pictures in order, which stand in front of them."""

    param: str
    role: str
    text: str
    pictures: tuple[np.ndarray, ...]
    details: tuple[str, ...]


def _said(message: Any, param: str, room: Room) -> _Said:
    if not isinstance(message, dict):
        raise invalid(f"{param} must be an object, got {type(message).__name__}", param, "invalid_type")
    role, content = message.get("role"), message.get("content")
    if role not in (*SYSTEM, "user", "assistant"):
        raise invalid(f"{param}.role must be system, user or assistant, got {_shown(role)}", f"{param}.role")
    unknown = sorted(key for key, value in message.items() if key not in ("role", "content", "name") and value)
    if unknown:
        raise invalid(
            f"{param} has {printable(unknown, 80)}, which is not done here", f"{param}.{printable(unknown[0], 40)}"
        )
    if isinstance(content, str):
        return _Said(param, role, content, (), ())
    if not isinstance(content, list) or not content:
        raise invalid(f"{param}.content must be a text or a list of parts", f"{param}.content", "invalid_type")
    texts, pictures, details = [], [], []
    for number, part in enumerate(content):
        place = f"{param}.content[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url" and isinstance(part.get("image_url"), dict) and role == "user":
            detail = part["image_url"].get("detail") or "auto"
            if detail not in ("auto", "low", "high", "original"):
                raise invalid(f"{place}.image_url.detail must be auto, low or high", f"{place}.image_url.detail")
            room.count(place)
            url = f"{place}.image_url.url"
            pictures.append(room.take(read_data_url(part["image_url"].get("url"), url), url))
            details.append(detail)
        else:
            raise invalid(
                f"{place} must be {{type: text, text: ...}} or a user's {{type: image_url, image_url: {{url: ...}}}}",
                place,
            )
    return _Said(param, role, "\n".join(texts), tuple(pictures), tuple(details))
