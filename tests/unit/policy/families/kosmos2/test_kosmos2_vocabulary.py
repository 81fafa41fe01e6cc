"""Ids of texts, tags and places."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from magma_contracts.errors import ConfigError
from magma_policy.families.kosmos2 import vocabulary
from magma_policy.families.kosmos2.vocabulary import MASK, TAGS, Vocabulary, build_small_tokenizer, place_name

PUBLISHED = "KOSMOS2_SENTENCEPIECE"


@given(
    st.text(max_size=40) | st.lists(st.sampled_from([*TAGS, "</s>", "<s>", "<mask>", place_name(3), " a"])).map("".join)
)
def test_no_text_becomes_a_tag(words, text):
    assert all(words.is_text(id_) or id_ == words.unknown for id_ in words.encode(text))


def test_spaces_around_a_text_do_not_change_its_ids(words):
    assert words.encode("the carrot") == words.encode("  the   carrot ")
    assert words.decode(words.encode("the carrot.")) == " the carrot."


def test_half_a_character_is_read_as_a_question_mark(words):
    assert words.encode("\ud800") == words.encode("?")


def test_tokenizers_of_other_models_are_refused(words):
    with pytest.raises(ConfigError, match="no token <s>"):
        Vocabulary(Tokenizer(models.Unigram([("a", 0.0)])), 4)
    with pytest.raises(ConfigError, match="patch_index_0015"):
        Vocabulary(build_small_tokenizer(["a"], 4, bins=3), 4, bins=4)
    with pytest.raises(ConfigError, match="too few"):
        Vocabulary(build_small_tokenizer(["a"], 4), 100_000)


def test_limits_of_other_tools_are_forgotten():
    tokenizer = build_small_tokenizer(["carrot"], 4)
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    assert len(Vocabulary(tokenizer, 4).encode("carrot " * 5)) == 5


def test_a_tokenizer_file_says_the_same(words, tmp_path):
    words.tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = Vocabulary.load(tmp_path / "tokenizer.json", words.latents)
    assert again.encode("the unknown word") == words.encode("the unknown word")
    assert again.size == words.size


def _fields(data):
    """Fields of a protocol buffer: (number, value), values of the wire's types 0, 2 and 5."""
    index = 0

    def varint():
        nonlocal index
        value = shift = 0
        while True:
            byte = data[index]
            index += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while index < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 2:
            length = varint()
            yield key >> 3, data[index : index + length]
            index += length
        else:
            yield key >> 3, struct.unpack("<f", data[index : index + 4])[0]
            index += 4


@pytest.fixture(scope="module")
def published():
    """The published tokenizer, put together from its sentencepiece file as its own library does."""
    path = Path(os.environ.get(PUBLISHED, ""))
    if not path.is_file():
        pytest.skip(f"{PUBLISHED} names no sentencepiece.bpe.model of microsoft/kosmos-2-patch14-224")
    pieces, charsmap = [], b""
    for number, value in _fields(path.read_bytes()):
        if number == 1:
            fields = dict(_fields(value))
            pieces.append((fields[1].decode(), fields.get(2, 0.0), fields.get(3, 1)))
        elif number == 3:
            charsmap = dict(_fields(value)).get(2, b"")
    ordinary = [(text, score) for text, score, kind in pieces if kind == 1]
    control = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    tokenizer = Tokenizer(models.Unigram([*control, *ordinary], unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Precompiled(charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.add_special_tokens([AddedToken(MASK, normalized=False)])
    places = [place_name(cell) for cell in range(1024)]
    tokenizer.add_tokens([AddedToken(name, lstrip=True, normalized=False) for name in (*TAGS, *places)])
    return Vocabulary(tokenizer, 64)


def test_the_published_ids(published):
    assert (published.first_tag, published.grounding, published.first_place) == (64002, 64012, 64013)
    assert published.size == 65037
    # A brief caption of the library's own tests.
    assert published.encode(" An image of") == [712, 1648, 9]
    assert published.encode("a snowman") == [10, 43867]
    assert published.encode("warming himself by") == [5950, 597, 32]
    assert published.encode("a fire") == [10, 646]
    assert vocabulary.FIRST_FEATURE_ID == 4
