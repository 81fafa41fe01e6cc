"""magma-serve's chat endpoint, asked with OpenAI's own client."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request

import numpy as np
import openai
import pytest

from magma_policy.errors import NotFiniteError, ObservationError
from magma_policy_client import PolicyClient
from tests.unit.policy.serving.chat_helpers import LONG_S, Parrot, asks, data_url, served

RED = np.full((5, 7, 3), (255, 0, 0), np.uint8)
BLUE = np.full((6, 4, 3), (0, 0, 255), np.uint8)


def client(base, key="unused"):
    return openai.OpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0, timeout=LONG_S)


def ask(base, *messages, **rest):
    rest.setdefault("model", "parrot")
    return client(base).chat.completions.create(messages=list(messages), **rest)


def raw(base, path, data=None, **headers):
    request = urllib.request.Request(base + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=LONG_S) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


@pytest.fixture
def parrot():
    return Parrot()


@pytest.fixture
def base(parrot):
    with served(parrot) as url:
        yield url


def test_a_question_about_pictures_is_answered(parrot, base):
    said = ask(base, {"role": "system", "content": "Be brief."}, asks("Which?", data_url(RED), data_url(BLUE)))
    assert said.choices[0].message.content == "Which?" and said.choices[0].finish_reason == "stop"
    assert said.model == "parrot" and said.object == "chat.completion" and said.id.startswith("chatcmpl-")
    assert (said.usage.prompt_tokens, said.usage.completion_tokens, said.usage.total_tokens) == (9, 7, 16)
    (message, settings), *_ = parrot.asked
    assert message.question == "Which?" and message.system == "Be brief." and message.literal
    assert [image.tolist() for image in message.images] == [RED.tolist(), BLUE.tolist()], "in order, to the pixel"
    assert settings.temperature == 0 and message.max_num_crops is None


def test_earlier_turns_keep_their_pictures(parrot, base):
    ask(
        base,
        asks("What is it?", data_url(RED), detail="low"),
        {"role": "assistant", "content": "A square."},
        asks("And this?", data_url(BLUE), detail="low"),
    )
    message = parrot.asked[0][0]
    assert [(t.question, t.answer, t.images) for t in message.earlier] == [("What is it?", "A square.", 1)]
    assert message.question == "And this?" and len(message.images) == 2
    assert message.max_num_crops == 1, "low detail is one tile"


def test_models_are_listed(base):
    assert [model.id for model in client(base).models.list()] == ["parrot"]
    assert client(base).models.retrieve("parrot").owned_by == "magma"
    with pytest.raises(openai.NotFoundError, match="'other' is not served here, only 'parrot'") as caught:
        client(base).models.retrieve("other")
    assert caught.value.code == "model_not_found"


def test_an_answer_streams_and_ends_with_its_counts(base):
    chunks = list(ask(base, asks("abc"), stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(text for text in texts if text) == "abc"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 4
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_is_closed_by_the_word_done(base):
    body = json.dumps({"model": "parrot", "messages": [asks("hi")], "stream": True}).encode()
    status, headers, text = raw(base, "/v1/chat/completions", body)
    assert status == 200 and headers["Content-Type"].startswith("text/event-stream")
    assert text.endswith("data: [DONE]\n\n") and all(line.startswith("data: ") for line in text.split("\n\n") if line)


@pytest.mark.parametrize("stream", [False, True])
def test_stop_words_and_lengths_end_an_answer(base, stream):
    def answer(**rest):
        said = ask(base, asks("one two three"), stream=stream, **rest)
        if not stream:
            return said.choices[0].message.content, said.choices[0].finish_reason
        chunks = list(said)
        return "".join(c.choices[0].delta.content or "" for c in chunks), chunks[-1].choices[0].finish_reason

    assert answer(stop=" t") == ("one", "stop")
    assert answer(stop=["zzz", "two t"]) == ("one ", "stop")
    assert answer(stop="threes") == ("one two three", "stop"), "what only began like a stop word is given out"
    assert answer(max_tokens=4) == ("one ", "length")
    assert answer(max_completion_tokens=3) == ("one", "length")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("n", 2, "unsupported_value"),
        ("logprobs", True, "unsupported_value"),
        ("tools", [{"type": "function", "function": {"name": "f"}}], "unsupported_value"),
        ("response_format", {"type": "json_object"}, "unsupported_value"),
        ("presence_penalty", 0.5, "unsupported_value"),
        ("temperature", 3, "invalid_value"),
        ("temperature", "hot", "invalid_type"),
        ("top_p", 0, "invalid_value"),
        ("max_tokens", 0, "integer_out_of_range"),
        ("max_tokens", True, "invalid_type"),
        ("max_tokens", 1.5, "invalid_type"),
        ("seed", 2**70, "integer_out_of_range"),
        ("stop", ["a", "b", "c", "d", "e"], "invalid_value"),
        ("stop", [""], "invalid_value"),
        ("stream", "yes", "invalid_type"),
        ("stream_options", {"include_usage": True}, "invalid_value"),
        ("top_k", 5, "unknown_parameter"),
        ("messages", [], "missing_required_parameter"),
        ("messages", [{"role": "assistant", "content": "hi"}], "invalid_value"),
        ("messages", [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "invalid_value"),
        ("messages", [{"role": "tool", "content": "a"}], "invalid_value"),
        ("messages", [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], "invalid_value"),
        ("messages", [{"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": ""}}]}], None),
        ("messages", ["hi"], "invalid_type"),
        ("model", 5, "missing_required_parameter"),
    ],
)
def test_what_is_not_done_here_is_refused_by_name(parrot, base, field, value, code):
    body = {"model": "parrot", "messages": [asks("hi")]} | {field: value}
    status, _, text = raw(base, "/v1/chat/completions", json.dumps(body).encode())
    error = json.loads(text)["error"]
    assert status == 400 and set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error" and error["param"].startswith(field)
    assert code is None or error["code"] == code
    assert parrot.asked == []


def test_the_values_that_ask_for_nothing_special_are_taken(base):
    said = ask(base, asks("hi"), n=1, logprobs=False, presence_penalty=0, user="me", response_format={"type": "text"})
    assert said.choices[0].message.content == "hi"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://example.org/a.png",
        "file:///etc/passwd",
        "ftp://example.org/a.png",
        "//example.org/a.png",
        "a.png",
        "",
    ],
)
def test_nothing_is_fetched(parrot, base, url):
    with pytest.raises(openai.BadRequestError, match="fetches nothing, so send the picture itself") as caught:
        ask(base, asks("What?", url))
    assert caught.value.param == "messages[0].content[0].image_url.url" and parrot.asked == []


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("data:image/png;base64,@@@@", "not valid base64"),
        ("data:image/png;base64,AAAA", "not a picture that can be read"),
        ("data:image/png,abc", "must be encoded in base64"),
        ("data:text/html;base64,PGI+", "not a picture"),
        (data_url(np.zeros((64, 64, 3), np.uint8))[:-40], "cannot be read|base64"),
    ],
)
def test_broken_pictures_are_named(base, url, match):
    with pytest.raises(openai.BadRequestError, match=match) as caught:
        ask(base, asks("What?", data_url(RED), url))
    assert caught.value.param == "messages[0].content[1].image_url.url"


def test_pictures_are_bounded_in_number_and_size(base, monkeypatch):
    monkeypatch.setattr("magma_policy.serving.chat.pictures.MAX_PICTURES", 2)
    with pytest.raises(openai.BadRequestError, match="at most 2 pictures"):
        ask(base, asks("What?", *[data_url(RED)] * 3))
    monkeypatch.setattr("magma_policy.serving.chat.pictures.MAX_PIXELS", 40)
    with pytest.raises(openai.BadRequestError, match="more than 40 pixels together"):
        ask(base, asks("What?", data_url(RED), data_url(BLUE)))


def test_a_body_that_is_too_large_or_no_json(parrot):
    with served(parrot, max_body=2000) as base:
        with pytest.raises(openai.APIStatusError, match="--max-message-mib") as caught:
            ask(base, asks("x" * 3000))
        assert caught.value.status_code == 413
        for body in (b"{", b"[1]", b'{"a": NaN}', b"\xff\xfe", b"[" * 1500, b"1" * 1900):
            status, _, text = raw(base, "/v1/chat/completions", body)
            assert status == 400 and "JSON" in json.loads(text)["error"]["message"], body[:20]
    assert parrot.asked == []


def test_other_places_and_methods_are_told_apart(base):
    for path, data, status, code in (
        ("/v1/completions", b"{}", 404, "unknown_url"),
        ("/v1/models", b"{}", 405, "method_not_allowed"),
        ("/v1/chat/completions", None, 405, "method_not_allowed"),
        ("/elsewhere", b"{}", 404, "unknown_url"),
    ):
        got, _, text = raw(base, path, data)
        assert (got, json.loads(text)["error"]["code"]) == (status, code), path


def test_the_token_is_the_api_key(parrot):
    token = "a-token-of-sixteen"
    with served(parrot, token=token) as base:
        assert client(base, token).chat.completions.create(model="parrot", messages=[asks("hi")])
        for key in ("wrong", token + "x"):
            with pytest.raises(openai.AuthenticationError, match="api_key") as caught:
                client(base, key).models.list()
            assert caught.value.code == "invalid_api_key"
        assert raw(base, "/v1/models")[0] == 401 and raw(base, "/v1/models")[1]["WWW-Authenticate"] == "Bearer"
        assert raw(base, "/healthz")[0] == 200


def test_pages_in_a_browser_are_kept_out(base):
    body = json.dumps({"model": "parrot", "messages": [asks("hi")]}).encode()
    status, _, text = raw(base, "/v1/chat/completions", body, Origin="http://evil.example")
    assert status == 403 and json.loads(text)["error"]["code"] == "origin_not_allowed"
    status, _, text = raw(base, "/v1/models", None, Host="evil.example:8765")
    assert status == 403 and json.loads(text)["error"]["code"] == "host_not_allowed"
    for host in ("localhost:8765", "127.0.0.1", "[::1]:8765"):
        assert raw(base, "/v1/models", None, Host=host)[0] == 200, host


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_refuses_or_fails_at_has_its_own_status(parrot, base, stream):
    def error_of(error):
        parrot.error = error
        with pytest.raises(openai.APIStatusError) as caught:
            list(ask(base, asks("hi"), stream=stream))
        return caught.value.status_code, caught.value.code, caught.value.body["message"]

    assert error_of(ObservationError("too many tokens")) == (400, "invalid_prompt", "too many tokens")
    assert error_of(NotFiniteError.of("parrot", "float16"))[:2] == (500, "not_finite")
    status, _, message = error_of(RuntimeError("out of memory"))
    assert status == 500 and "out of memory" in message
    parrot.error = None
    assert ask(base, asks("hi")).choices[0].message.content == "hi"


def test_a_robot_is_answered_while_a_text_goes_on(parrot, base, monkeypatch):
    monkeypatch.setattr("magma_policy.serving.chat.talking.STEP_S", 0.0)
    stream = ask(base, asks("x" * 500), stream=True)
    next(iter(stream))
    with PolicyClient(base.replace("http", "ws"), timeout_s=LONG_S) as robot:
        assert [robot.act(np.zeros((4, 4, 3), np.uint8), "go", None).deltas[0, 0] for _ in range(3)] == [1, 2, 3]
    assert sum(len(c.choices[0].delta.content or "") for c in stream) == 500


def test_whoever_hangs_up_costs_no_more_of_the_model(parrot, base, monkeypatch):
    monkeypatch.setattr("magma_policy.serving.chat.talking.STEP_S", 0.0)
    parrot.go.clear()
    host, port = base.removeprefix("http://").split(":")
    body = json.dumps({"model": "parrot", "messages": [asks("y" * 1000)]}).encode()
    with socket.create_connection((host, int(port)), timeout=LONG_S) as line:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
        line.sendall(head.encode() + body)
        assert parrot.entered.acquire(timeout=LONG_S)
    parrot.go.set()
    assert ask(base, asks("after")).choices[0].message.content == "after"
    assert parrot.closed == 2, "the first answer was given up, and what it used given back"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long_is_given_up(parrot, base, monkeypatch, stream):
    monkeypatch.setattr("magma_policy.serving.chat.answering.ANSWER_S", 0.1)
    parrot.go.clear()
    with pytest.raises(openai.APIStatusError, match="no answer in time") as caught:
        list(ask(base, asks("slow"), stream=stream))
    assert caught.value.status_code == 504 and caught.value.code == "timeout"
    parrot.go.set()
    monkeypatch.setattr("magma_policy.serving.chat.answering.ANSWER_S", LONG_S)
    assert ask(base, asks("hi")).choices[0].message.content == "hi"


def test_too_many_requests_are_told_to_come_again(parrot):
    parrot.go.clear()
    with served(parrot, max_waiting=1) as base:
        asking = threading.Thread(target=ask, args=(base, asks("first")))
        asking.start()
        assert parrot.entered.acquire(timeout=LONG_S)
        with pytest.raises(openai.APIStatusError, match="ask again later") as caught:
            ask(base, asks("second"))
        assert caught.value.status_code == 503 and caught.value.response.headers["Retry-After"] == "1"
        parrot.go.set()
        asking.join(LONG_S)


def test_too_many_connections_are_told_so(parrot):
    with served(parrot, max_connections=1) as base:
        host, port = base.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=LONG_S) as line:
            line.sendall(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert line.recv(100).startswith(b"HTTP/1.1 200")
            status, _, text = raw(base, "/v1/models")
            assert status == 503 and json.loads(text)["error"]["code"] == "overloaded"


def test_one_connection_may_ask_for_everything_over_http(base):
    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=LONG_S) as line, line.makefile("rb") as answers:
        for path in ("/v1/models", "/healthz", "/metrics"):
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (header := answers.readline().strip().lower()) != b"":
                length = int(header.partition(b":")[2]) if header.startswith(b"content-length") else length
            assert answers.read(length)


def test_a_request_may_come_letter_by_letter(base):
    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=LONG_S) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for letter in b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n":
            line.sendall(bytes([letter]))
        assert line.recv(4096).startswith(b"HTTP/1.1 200 OK")


def test_silence_is_hung_up_on(parrot, monkeypatch):
    monkeypatch.setattr("magma_policy.serving.front.HELLO_S", 0.05)
    with served(parrot) as base:
        host, port = base.removeprefix("http://").split(":")
        for begun in (b"", b"POST /v1/chat", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"):
            with socket.create_connection((host, int(port)), timeout=LONG_S) as line:
                line.sendall(begun)
                with contextlib.suppress(ConnectionResetError):
                    assert line.recv(100) == b""
        assert raw(base, "/healthz")[0] == 200


def test_answers_outlive_the_server(parrot, tmp_path):
    question = {"messages": [asks("What?", data_url(RED))], "model": "parrot"}

    def kept(base, **rest):
        said = client(base).chat.completions.with_raw_response.create(**(question | rest))
        return said.headers["X-Magma-Kept-Answer"], said.parse()

    with served(parrot, tmp_path) as base:
        first, whole = kept(base)
        assert first == "no" and kept(base)[0] == "yes"
        assert kept(base, max_tokens=3)[0] == "no", "other settings are another question"
        assert kept(base, stop="t")[0] == "no"
        assert kept(base, messages=[asks("What?", data_url(BLUE))])[0] == "no"
        assert kept(base, temperature=1)[0] == "no" and kept(base, temperature=1)[0] == "no", "chance is not kept"
        assert kept(base, temperature=1, seed=3)[0] == "no" and kept(base, temperature=1, seed=3)[0] == "yes"
    asked = len(parrot.asked)
    with served(parrot, tmp_path) as base:
        again, same = kept(base)
        assert again == "yes" and same.choices == whole.choices and same.usage == whole.usage
        streamed = list(client(base).chat.completions.create(**question, stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in streamed) == "What?"
    assert len(parrot.asked) == asked
    with served(parrot, tmp_path, identity="other weights") as base:
        assert kept(base)[0] == "no"


def test_an_answer_that_was_broken_off_is_not_kept(parrot, tmp_path):
    with served(parrot, tmp_path) as base:
        parrot.error = RuntimeError("boom")
        with pytest.raises(openai.InternalServerError):
            ask(base, asks("hi"))
        parrot.error = None
        said = client(base).chat.completions.with_raw_response.create(model="parrot", messages=[asks("hi")])
        assert said.headers["X-Magma-Kept-Answer"] == "no"
