"""OpenVLA: vision towers, projector and a Llama-2 decoder.

Module names are the published tensor names, so `state_dict()` is the checkpoint layout but for what is not used of the
towers (`vision.unused_tensors`).

Source: `prismatic/extern/hf/modeling_prismatic.py` of github.com/openvla/openvla.
"""

from __future__ import annotations

from torch import Tensor

from magma_policy.families.openvla.config import OpenVLAConfig
from magma_policy.families.openvla.projector import Projector
from magma_policy.families.openvla.vision import VisionBackbone
from magma_policy.inference.action_decoder import ActionDecoder
from magma_policy.inference.kv_cache import KVCache

IMAGE_ID = -1
"""Stands in the ids of a prompt, behind the begin of text, where the image's tokens come; it is no id of a text."""


class OpenVLA(ActionDecoder):
    """The model. All methods take batches; ids are int64, images are normalised and stacked on the channels."""

    vision_modules = ("vision_backbone", "projector")

    def __init__(self, config: OpenVLAConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_backbone = VisionBackbone(config.towers)
        self.projector = Projector(config.vision_width, config.text.hidden_size, fused=len(config.towers) == 2)
        self.add_decoder(config.name, config.text, config.base_vocab_size, IMAGE_ID)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(B, 3 per tower, S, S) to visual tokens (B, patches, H)."""
        tokens: Tensor = self.projector(self.vision_backbone(pixels))
        return tokens

    def prefill(self, ids: Tensor, visual: Tensor, attention: Tensor | None = None) -> KVCache:
        """Read prompts (B, T), each with one `IMAGE_ID`, and their images' tokens; `attention` bool (B, T) is False on
        left padding."""
        merged, positions, visible = self.merge(ids, visual, attention)
        return self.read(merged, positions, visible, last_only=True)[1]
