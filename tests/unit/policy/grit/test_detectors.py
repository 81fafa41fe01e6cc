"""transformers' zero-shot detectors, each in its own class with random weights: what the library makes of their answers
is what the adapter finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from magma_policy.errors import CommandError
from magma_policy.grit.detectors import THRESHOLDS, ZeroShotDetector, joined

PHRASES = ["a dog", "the red block", "dog"]
SIDE = 32
WORDS = ["a", "dog", "the", "red", "block", "."]


def clip_tokenizer(folder: Path):
    from transformers import CLIPTokenizer

    letters = sorted(set("".join(WORDS)))
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text("{" + ", ".join(f'"{piece}": {i}' for i, piece in enumerate(pieces)) + "}")
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=16), len(pieces)


def owl(kind: str, folder: Path):
    from transformers import (
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessorPil,
        Owlv2Processor,
        OwlViTConfig,
        OwlViTForObjectDetection,
        OwlViTImageProcessorPil,
        OwlViTProcessor,
    )

    tokenizer, size = clip_tokenizer(folder)
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": size, "max_position_embeddings": 16, "eos_token_id": size - 1}
    vision = {**small, "image_size": SIDE, "patch_size": 8}
    sizes = {"size": {"height": SIDE, "width": SIDE}}
    if kind == "owlv2":
        config = Owlv2Config(text_config=text, vision_config=vision, projection_dim=32)
        return Owlv2ForObjectDetection(config), Owlv2Processor(Owlv2ImageProcessorPil(**sizes), tokenizer)
    config = OwlViTConfig(text_config=text, vision_config=vision, projection_dim=32)
    pictures = OwlViTImageProcessorPil(**sizes, do_center_crop=False)
    return OwlViTForObjectDetection(config), OwlViTProcessor(pictures, tokenizer)


def dino(kind: str, folder: Path):
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        GroundingDinoProcessor,
        MMGroundingDinoConfig,
        MMGroundingDinoForObjectDetection,
        SwinConfig,
    )

    # Ids of BERT's special tokens and of the full stop, by which phrases are parted, are the published ones.
    pieces = [f"[unused{i}]" for i in range(1013)]
    for place, piece in {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: "."}.items():
        pieces[place] = piece
    pieces += [word for word in WORDS if word != "."]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    tokenizer = BertTokenizer.from_pretrained(folder)
    backbone = SwinConfig(
        image_size=SIDE, patch_size=2, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2,
        out_indices=[2, 3, 4],
    )  # fmt: skip
    text = BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    sizes = dict(
        backbone_config=backbone, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2, num_queries=9,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
    )  # fmt: skip
    pictures = GroundingDinoImageProcessorPil(size={"shortest_edge": SIDE, "longest_edge": 2 * SIDE})
    processor = GroundingDinoProcessor(pictures, tokenizer)
    if kind == "mm-grounding-dino":
        return MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**sizes)), processor
    return GroundingDinoForObjectDetection(GroundingDinoConfig(**sizes)), processor


@pytest.fixture(scope="module", params=list(THRESHOLDS))
def checkpoint(request, tmp_path_factory) -> Path:
    """A folder as users have it."""
    torch.manual_seed(3)
    folder, parts = (tmp_path_factory.mktemp(request.param) / name for name in ("checkpoint", "parts"))
    parts.mkdir()
    model, processor = (owl if request.param.startswith("owl") else dino)(request.param, parts)
    for name, parameter in model.named_parameters():
        if name.startswith("box_head"):
            # As the library begins, OWL's boxes have hardly any area.
            torch.nn.init.normal_(parameter, std=0.2)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)


def library(detector, image, phrases):
    """Boxes in pixels, scores, and logits of every query, as the library tells them."""
    processor, model = detector._processor, detector._model
    tokens = detector._kind.endswith("dino")
    text = joined(phrases)[0] if tokens else [[phrase.lower() for phrase in phrases]]
    inputs = processor(
        images=Image.fromarray(image), text=text, return_tensors="pt", **({} if tokens else {"truncation": True})
    )
    with torch.inference_mode():
        outputs = model(**inputs)
    sizes = [image.shape[:2]]
    if tokens:
        found = processor.post_process_grounded_object_detection(
            outputs, inputs["input_ids"], threshold=0.0, text_threshold=0.0, target_sizes=sizes
        )
    else:
        found = processor.post_process_grounded_object_detection(outputs, threshold=0.0, target_sizes=sizes)
    return found[0], outputs.logits[0].sigmoid().numpy(), inputs


def test_a_checkpoint_is_read_and_agrees_with_the_library(checkpoint, image):
    detector = ZeroShotDetector.load(checkpoint, "cpu", 0.0)
    assert detector.threshold == THRESHOLDS[detector._kind]
    found = detector.ground(image, PHRASES, "k")
    theirs, likely, inputs = library(detector, image, PHRASES)
    height, width = image.shape[:2]
    boxes = (theirs["boxes"].numpy() / (width, height, width, height)).clip(0, 1)
    # What is hardly there is there or not by rounding.
    wanted = [row for row, box in enumerate(boxes) if (box[2:] - box[:2]).min() > 1e-3]
    kept = [one for one in found if min(one.box[2] - one.box[0], one.box[3] - one.box[1]) > 1e-3]
    assert len(kept) == len(wanted) > 3
    np.testing.assert_allclose([one.box for one in kept], boxes[wanted], atol=1e-5)
    assert boxes[wanted].std(axis=0).max() > 1e-3
    if detector._kind.startswith("owl"):
        np.testing.assert_allclose([one.score for one in kept], theirs["scores"][wanted], atol=1e-6)
        assert [one.phrase for one in kept] == theirs["labels"][wanted].tolist()
        return
    # By hand: the ids of a phrase's own words; "a dog" and "dog" have one in common.
    tokenizer = detector._processor.tokenizer
    row = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
    stops = [at for at, token in enumerate(row) if token == "."]
    parts = [slice(first + 1, last) for first, last in zip([0, *stops], stops, strict=False)]
    assert [row[part] for part in parts] == [phrase.split() for phrase in PHRASES]
    best = np.stack([likely[wanted, part].max(axis=1) for part in parts], axis=1)
    np.testing.assert_allclose([one.score for one in kept], best.max(axis=1), atol=1e-6)
    assert [one.phrase for one in kept] == best.argmax(axis=1).tolist()


def test_boxes_below_what_is_asked_for_are_not_told(checkpoint, image):
    every = ZeroShotDetector.load(checkpoint, "cpu", 0.0).ground(image, PHRASES, "k")
    detector = ZeroShotDetector.load(checkpoint, "cpu")
    floor = sorted(one.score for one in every)[len(every) // 2]
    detector._floor = floor
    found = detector.ground(image, PHRASES, "k")
    assert found == [one for one in every if one.score >= floor] and 0 < len(found) <= len(every)
    assert detector.ground(image, [], "k") == []


def test_a_long_phrase_is_cut_and_no_error(checkpoint, image):
    detector = ZeroShotDetector.load(checkpoint, "cpu", 0.0)
    assert {one.phrase for one in detector.ground(image, ["the red block " * 40, "dog"], "k")} <= {0, 1}


def test_what_is_no_detector_is_told_in_a_sentence(tmp_path):
    with pytest.raises(CommandError, match="--detector"):
        ZeroShotDetector.load(tmp_path, "cpu")
