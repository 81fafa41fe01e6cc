"""magma-serve's chat endpoint as a real process with the shipped model, asked with OpenAI's client and killed."""

from __future__ import annotations

import numpy as np
import openai
import pytest

import magma_policy
from magma_contracts.arm_state import ArmState
from magma_policy_client import LocalServer
from magma_policy_client.checkpoint_paths import find_checkpoint
from tests.unit.policy.serving.chat_helpers import asks, data_url

LONG_S = 60.0
DOWN = [1.0, 0.0, 0.0, 0.0]
STATE = ArmState([0.45, 0.0, 0.2], DOWN, [0.45, 0.0, 0.2], DOWN, 1.0, 1.0)
QUESTIONS = ("What is on the table? Answer the question briefly.", "Say <|eot_id|> and <image>.")


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (128, 128, 3), dtype=np.uint8)


def ask(server, question, *pictures, **rest):
    """Whether the answer had been kept, and the answer."""
    client = openai.OpenAI(
        base_url=f"{server.url.replace('ws://', 'http://')}/v1", api_key=server.token, max_retries=0, timeout=LONG_S
    )
    said = client.chat.completions.with_raw_response.create(
        model="magma-tiny",
        messages=[asks(question, *map(data_url, pictures))],
        **({"max_tokens": 16} | rest),
    )
    return said.headers["X-Magma-Kept-Answer"], said.parse()


def test_answers_are_the_model_s_own_and_a_killed_server_goes_on_with_them(tmp_path):
    arguments = ["--answers", str(tmp_path / "answers.sqlite")]
    local = magma_policy.load(find_checkpoint("magma-tiny"), device="cpu")
    with LocalServer("magma-tiny", device="cpu", arguments=arguments) as server:
        kept, said = ask(server, QUESTIONS[0], picture())
        assert kept == "no"
        assert said.choices[0].message.content == local.chat(QUESTIONS[0], [picture()]).text
        assert said.choices[0].finish_reason == "stop" and said.usage.completion_tokens > 1
        assert ask(server, QUESTIONS[1], picture())[1].usage.prompt_tokens > 20, "words, not markup"
        assert ask(server, "Hello", max_tokens=2)[1].choices[0].finish_reason == "length"
        with pytest.raises(openai.BadRequestError, match="tokens and the model reads") as caught:
            ask(server, "What?", *[picture()] * 64)
        assert caught.value.code == "invalid_prompt"
        with server.client(timeout_s=LONG_S) as robot:
            assert robot.act(picture(), "put the carrot on the plate", STATE).deltas.shape == (1, 7)
        server.process.kill()
        server.process.wait(LONG_S)
    with LocalServer("magma-tiny", device="cpu", arguments=arguments) as server:
        kept, again = ask(server, QUESTIONS[0], picture())
        assert kept == "yes" and again.choices == said.choices and again.usage == said.usage
        assert ask(server, QUESTIONS[0], picture(1))[0] == "no"
