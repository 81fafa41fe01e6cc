"""OpenVLA, as openvla/openvla-7b is published and as it is finetuned: its front.

`load` is the registry's door; `write_random` makes small ones for trying out. Everything else in this folder is the
family's own.
"""

from magma_policy.families.openvla.initialise import write_random
from magma_policy.families.openvla.policy import Policy

__all__ = ["load", "write_random"]

load = Policy.load
