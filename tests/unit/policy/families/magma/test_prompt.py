import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors

from magma_contracts.errors import ConfigError
from magma_policy.errors import InstructionError
from magma_policy.families.magma.config import TokenConfig
from magma_policy.families.magma.prompt import robot_prompt, split_head
from magma_policy.families.magma.tokenizer import LLAMA3_SPLIT, MagmaTokenizer, build_small_tokenizer
from magma_policy.instructions import check_instruction, check_question, check_system

# Llama-3's ids of every piece that the golden prompt is made of.
PIECES = {
    "system": 9125, "ĊĊ": 271, "You": 2675, "Ġare": 527, "Ġagent": 8479, "Ġthat": 430, "Ġcan": 649, "Ġsee": 1518,
    ",": 11, "Ġtalk": 3137, "Ġand": 323, "Ġact": 1180, ".": 13, "user": 882, "Ċ": 198, "What": 3923,
    "Ġaction": 1957, "Ġshould": 1288, "Ġthe": 279, "Ġrobot": 12585, "Ġtake": 1935, "Ġto": 311, "Ġpick": 3820,
    "Ġcoke": 84423, "?": 30, "assistant": 78191,
}  # fmt: skip
SPECIAL = {
    "<|begin_of_text|>": 128000, "<|start_header_id|>": 128006, "<|end_header_id|>": 128007, "<|eot_id|>": 128009,
    "<pad>": 128256, "<image>": 128257, "<action>": 128258, "<image_start>": 128259, "<image_end>": 128260,
}  # fmt: skip
GOLDEN = (
    "128000 128000 128006 9125 128007 271 2675 527 8479 430 649 1518 11 3137 323 1180 13 128009 128006 882 128007 271 "
    "128259 128257 128260 198 3923 1957 1288 279 12585 1935 311 3820 84423 649 30 128009 128006 78191 128007 271"
)


@pytest.fixture(scope="module")
def llama_pieces():
    tokenizer = Tokenizer(models.WordLevel({**PIECES, **SPECIAL, "<unk>": 0}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 128000)]
    )
    return MagmaTokenizer(tokenizer, TokenConfig.magma_layout(128000))


def test_golden_prompt_ids(llama_pieces):
    assert llama_pieces.encode(robot_prompt("pick coke can")) == [int(i) for i in GOLDEN.split()]


def test_head_ends_before_the_picture(llama_pieces):
    head, rest = split_head(llama_pieces.encode(robot_prompt("pick coke can")), 128257)
    assert head[-1] == 128259
    assert rest[0] == 128257
    with pytest.raises(InstructionError, match="no <image>"):
        split_head([1, 2, 3], 128257)


@pytest.fixture(scope="module")
def small():
    return build_small_tokenizer(TokenConfig.magma_layout(1024))


def test_small_tokenizer_layout(small):
    tokens = small.tokens
    assert small.tokenizer.get_vocab_size(with_added_tokens=True) == tokens.total_size
    assert small.tokenizer.token_to_id("<|begin_of_text|>") == 1024
    assert small.tokenizer.token_to_id("<image_end>") == 1284
    assert small.tokenizer.token_to_id("<action_0>") == 1024 - 256
    assert small.tokenizer.token_to_id("<action_255>") == 1023


def test_small_tokenizer_begins_twice_and_is_short(small):
    ids = small.encode(robot_prompt("stack the green block on the yellow block"))
    assert ids[:2] == [1024, 1024]
    assert len(ids) < 50


@pytest.mark.parametrize(
    "text", ["put the carrot on the plate", "hänge das Tuch über den Stuhl 🙂", "<action_3> x", "42%"]
)
def test_small_tokenizer_encodes_any_text_without_action_ids(small, text):
    ids = small.encode(text)
    assert all(i < 768 or i >= 1024 for i in ids)
    assert small.tokenizer.decode(ids) == text


def test_saved_tokenizer_is_the_same(small, tmp_path):
    small.save(tmp_path / "tokenizer.json")
    again = MagmaTokenizer.load(tmp_path / "tokenizer.json", small.tokens)
    prompt = robot_prompt("put the eggplant in the basket")
    assert again.encode(prompt) == small.encode(prompt)


def test_tokenizer_of_another_layout_is_refused(small, tmp_path):
    small.save(tmp_path / "tokenizer.json")
    with pytest.raises(ConfigError, match="does not fit"):
        MagmaTokenizer.load(tmp_path / "tokenizer.json", TokenConfig.magma_layout(2048))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a tokenizer"):
        MagmaTokenizer.load(tmp_path / "bad.json", small.tokens)


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("", "empty"),
        ("   \n ", "empty"),
        ("x" * 513, "513 characters"),
        ("put\x00it", "control"),
        ("put <image> there", "reserved"),
        ("<|eot_id|>", "reserved"),
        (b"bytes", "string"),
        (None, "string"),
    ],
)
def test_bad_instructions_are_refused(instruction, reason):
    with pytest.raises(InstructionError, match=reason):
        check_instruction(instruction)


@pytest.mark.parametrize("check", [check_instruction, check_question, check_system])
@pytest.mark.parametrize("half", ["\ud83d", "\udcff", "\udfff"])
def test_halves_of_characters_are_refused_wherever_words_come_in(check, half):
    with pytest.raises(InstructionError, match="half of a character"):
        check(f"put {half} down")
    assert check("put 😀 down") == "put 😀 down"


@pytest.mark.parametrize("markup", ["<image>", "<image_end>", "<|eot_id|>", "<pad>"])
def test_the_system_text_has_no_markup_either(markup):
    with pytest.raises(InstructionError, match="system text contains reserved markup"):
        check_system(f"You are {markup} helpful.")
    assert check_system("") == ""
    assert check_system("You are helpful.\nAnswer briefly.") == "You are helpful.\nAnswer briefly."
