"""Parts of the chat endpoint: stop words, kept answers, the division of the port, and any bytes as a request."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_policy.families.interface import GenerationSettings, Message, Piece, Turn
from magma_policy.serving.chat.answer_store import AnswerStore, StoredAnswer, key_of
from magma_policy.serving.chat.errors import ApiError
from magma_policy.serving.chat.request import ChatRequest, read_request
from magma_policy.serving.chat.stop_words import StopWords
from magma_policy.serving.chat.talking import STEP_S, Talk
from magma_policy.serving.shared_port import first_request

ANSWER = StoredAnswer("Yes.", "stop", 12, 3)


@given(st.text("abc", max_size=20), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.data())
def test_stop_words_are_found_however_the_text_is_cut(text, words, data):
    # Whole first, as a model writes it: of "a" and "baa" in "baa" the "a" comes first, though the other begins first.
    places = [(at + len(word), at) for word in words if (at := text.find(word)) >= 0]
    stops, said, rest = StopWords(words), "", text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        said, rest = said + stops.add(rest[:size]), rest[size:]
        assert text.startswith(said)
    assert stops.found == bool(places)
    assert said + stops.rest() == (text[: min(places)[1]] if places else text)


NAMES = ["model", "messages", "role", "content", "type", "text", "image_url", "url", "stop", "n", "seed", "stream"]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_a_request_or_told_why_not(body):
    try:
        read_request(body)
    except ApiError as error:
        assert error.status == 400 and str(error) and len(str(error)) < 900 and "\n" not in str(error)


@given(st.binary(max_size=80))
def test_a_connection_is_never_taken_for_both(head):
    decided = [kind for end in range(len(head) + 1) if (kind := first_request(head[:end])) is not None]
    assert len(set(decided)) <= 1


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"GET / HTTP/1.1\r\n", "websocket"),
        (b"GET /healthz HTTP/1.1\r\n", "websocket"),
        (b"GET /v1x HTTP/1.1\r\n", "websocket"),
        (b"GET /v1/models?a=b HTTP/1.1\r\nHost: x\r\n\r\n", "http"),
        (b"POST / HTTP/1.1\r\n\r\n", "http"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n", None),
        (b"\x16\x03\x01\n", "websocket"),
        (b"GET", None),
    ],
)
def test_who_serves_what(head, kind):
    assert first_request(head) == kind


def request(**changed):
    message = Message("What?", [np.zeros((2, 3, 3), np.uint8)], "sys", None, [Turn("a", "b", 0)], True)
    return ChatRequest(**({"model": "m", "message": message, "settings": GenerationSettings()} | changed))


def test_every_part_of_a_question_is_in_its_key():
    plain = request()
    keys = {key_of("id", plain)}
    message = plain.message
    others = [
        {"question": "what?"},
        {"images": [np.zeros((3, 2, 3), np.uint8)]},
        {"images": [np.ones((2, 3, 3), np.uint8)]},
        {"images": [*message.images] * 2},
        {"system": None},
        {"max_num_crops": 1},
        {"earlier": [Turn("a", "b", 1)]},
        {"earlier": []},
    ]
    keys |= {key_of("id", request(message=Message(**(vars(message) | change)))) for change in others}
    keys |= {key_of("id", request(settings=s)) for s in (GenerationSettings(5), GenerationSettings(seed=1))}
    keys |= {key_of("id", request(stop=("x",))), key_of("other", plain)}
    assert len(keys) == 1 + len(others) + 4
    assert key_of("id", request(stream=True, model="alias")) in keys, "how it is delivered changes no answer"


def test_kept_answers_are_bounded_and_the_unused_go_first(tmp_path):
    store = AnswerStore(tmp_path / "answers.sqlite", max_answers=20)
    for number in range(20):
        store.put(str(number), ANSWER)
    assert store.get("0") == ANSWER, "used just now"
    store.put("new", ANSWER)
    assert store.get("0") == ANSWER and store.get("new") == ANSWER and store.get("1") is None
    assert sum(store.get(str(number)) is not None for number in range(20)) < 20
    store.close()
    assert (tmp_path / "answers.sqlite").stat().st_mode & 0o77 == 0, "nobody else reads them"


def test_a_killed_server_has_kept_what_it_said(tmp_path):
    path = tmp_path / "answers.sqlite"
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from magma_policy.serving.chat.answer_store import AnswerStore, StoredAnswer\n"
        "store = AnswerStore(Path(sys.argv[1])); store.put('k', StoredAnswer('Yes.', 'stop', 12, 3))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    store = AnswerStore(path)
    assert store.get("k") == ANSWER
    store.close()


@pytest.mark.parametrize("damage", ["text", "cut", "middle", "version"])
def test_a_damaged_file_is_put_aside(tmp_path, damage, caplog):
    path = tmp_path / "answers.sqlite"
    store = AnswerStore(path)
    for number in range(300):
        store.put(f"{number}", ANSWER)
    store.close()
    data = path.read_bytes()
    if damage == "text":
        path.write_bytes(b"this is no database, and long enough to be looked at" * 30)
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "middle":
        path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 8192) + data[-4096:])
    else:
        with sqlite3.connect(path) as file:
            file.execute("PRAGMA user_version = 99")
        file.close()
    store = AnswerStore(path)
    store.put("after", ANSWER)
    assert store.get("after") == ANSWER and (tmp_path / "answers.sqlite.damaged").is_file()
    assert "answers are kept anew" in caplog.text
    store.close()


def test_a_place_that_cannot_be_written_costs_no_answer(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    store = AnswerStore(tmp_path / "file" / "answers.sqlite")
    store.put("k", ANSWER)
    assert store.get("k") is None and caplog.text.count("answers are not kept") == 1


def test_a_damaged_row_is_no_answer(tmp_path):
    path = tmp_path / "answers.sqlite"
    store = AnswerStore(path)
    store.put("k", ANSWER)
    with sqlite3.connect(path) as file:
        file.execute("UPDATE answers SET answer = '{\"text\": 1'")
    file.close()
    assert store.get("k") is None
    store.put("k", ANSWER)
    assert store.get("k") == ANSWER
    store.close()


@pytest.mark.parametrize("ends", ["whole", "failed", "left"])
def test_an_answer_is_ended_once_and_only_where_something_is_left(ends):
    closed = []

    class Model:
        def pieces(self, message, settings):
            try:
                if ends == "failed":
                    raise RuntimeError("broken")
                yield Piece("word", "stop" if ends == "whole" else None, 1, 1)
                time.sleep(2 * STEP_S)
                yield Piece("more", None, 1, 2)
            finally:
                closed.append(ends)

    talk = Talk(Model(), Message("What?", []), GenerationSettings(8))
    talk.go_on()
    assert talk.ended == (ends != "left") and closed == [ends] * talk.ended
    talk.close()
    assert talk.ended and closed == [ends]
