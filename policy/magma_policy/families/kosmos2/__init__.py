"""KOSMOS-2 (Peng et al. 2023, arXiv 2306.14824), a model that points: its front.

`load_grounder` is the registry's door.
"""

from magma_policy.families.kosmos2.model import Kosmos2

__all__ = ["Kosmos2", "load_grounder"]

load_grounder = Kosmos2.load
