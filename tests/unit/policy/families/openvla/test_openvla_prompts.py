"""Prompts and their ids."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from magma_contracts.errors import ConfigError
from magma_policy.errors import InstructionError
from magma_policy.families.openvla.initialise import build_small_tokenizer
from magma_policy.families.openvla.prompt import robot_prompt
from magma_policy.families.openvla.tokenizer import OpenVLATokenizer

TOKENIZER = build_small_tokenizer()


def test_the_published_sentences():
    assert robot_prompt(" Pick up the Coke can ", "pure") == (
        "In: What action should the robot take to pick up the coke can?\nOut:"
    )
    assert robot_prompt("go", "vicuna") == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. "
        "USER: What action should the robot take to go? ASSISTANT:"
    )


def test_one_begin_in_front_and_one_empty_word_behind():
    ids = TOKENIZER.encode(robot_prompt("go", "pure"))
    assert ids[0] == 1 and ids.count(1) == 1
    assert ids[-1] == 29871 and ids[-2] == TOKENIZER.tokenizer.token_to_id(":")
    # A tokenizer that makes it by itself gets no second one.
    assert TOKENIZER.encode("Out: ")[-2:] == [TOKENIZER.tokenizer.token_to_id(":"), 29871]


@given(st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_no_text_says_an_action_or_a_begin(text):
    ids = TOKENIZER.encode(text.replace("<s>", "").replace("</s>", "").replace("<unk>", "").replace("<PAD>", ""))
    assert all(id_ < 31744 for id_ in ids)
    assert ids.count(1) == 1


@pytest.mark.parametrize("markup", ["</s>", "<s>", "<unk>", "<PAD>", "<S>", "</S>"])
def test_the_templates_own_tokens_are_refused_in_an_instruction(policy, markup):
    with pytest.raises(InstructionError, match="reserved markup"):
        policy._instruction_ids(f"go {markup} there")


def test_what_other_tools_leave_in_the_file_is_not_followed(tmp_path):
    changed = Tokenizer.from_str(TOKENIZER.tokenizer.to_str())
    changed.enable_truncation(4)
    changed.enable_padding(length=64)
    changed.save(str(tmp_path / "tokenizer.json"))
    loaded = OpenVLATokenizer.load(tmp_path / "tokenizer.json")
    prompt = robot_prompt("put the carrot on the plate", "pure")
    assert loaded.encode(prompt) == TOKENIZER.encode(prompt)


def test_a_tokenizer_of_another_layout_is_refused(tmp_path):
    data = json.loads(TOKENIZER.tokenizer.to_str())
    path = tmp_path / "tokenizer.json"
    vocab = data["model"]["vocab"]
    vocab["▁"], vocab["a"] = vocab["a"], vocab["▁"]
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"tokenizer\.json: not Llama-2's tokenizer: ▁ has the id 29872"):
        OpenVLATokenizer.load(path)
    del vocab["▁"]
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="no token ▁"):
        OpenVLATokenizer.load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: (d["model"].update(vocab={}), d.update(added_tokens=[])), "it has no token <s>"),
        (lambda d: d["model"].update(vocab={}), "it has no token ▁"),
        (lambda d: d["model"]["vocab"].pop("<0x9F>"), "it has no token <0x9F>"),
        # The library fails at the first character that is not known, drops it, or takes the same word for all of them.
        (lambda d: d["model"].update(unk_token="<nothing>", byte_fallback=False), "it encodes no text"),
        (lambda d: d["model"].update(unk_token=None, byte_fallback=False), "does not know becomes .*instead of"),
        (lambda d: d["model"].update(byte_fallback=False), "does not know becomes .*<unk>.*instead of"),
        (lambda d: d["model"].update(unk_token="a", byte_fallback=False), "not a tokenizer of Llama's kind"),
    ],
)
def test_a_tokenizer_that_would_say_something_else_is_refused_in_one_sentence(tmp_path, change, said):
    data = json.loads(TOKENIZER.tokenizer.to_str())
    change(data)
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=rf"tokenizer\.json: .*{said}") as caught:
        OpenVLATokenizer.load(tmp_path / "tokenizer.json")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


@pytest.mark.parametrize("words", ["把胡萝卜放在盘子上", "Ж", "\ue000\U0001f955", "naïve"])
def test_characters_without_a_token_are_said_in_their_bytes(words):
    assert TOKENIZER.tokenizer.decode(TOKENIZER.encode(words)[1:]).strip() == words
