"""How well a model under training points, on scenes that it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from magma_policy.families.kosmos2 import Kosmos2, Network, Vocabulary
from magma_policy.grounding.evaluation import evaluate
from magma_policy.grounding.scenes import Scenes
from magma_policy.training.recipes.grounding.objective import Learner


@dataclass
class Validation:
    """Shares in percent; `found_hard_percent` of things that only a word of place tells from another."""

    found_percent: float
    found_hard_percent: float
    named_percent: float
    refused_percent: float
    falsely_refused_percent: float
    mean_overlap: float

    def __str__(self) -> str:
        return (
            f"found {self.found_percent:.1f} % (by place {self.found_hard_percent:.1f} %), overlap "
            f"{self.mean_overlap:.3f}, named {self.named_percent:.1f} %, absent refused {self.refused_percent:.1f} %, "
            f"present refused {self.falsely_refused_percent:.1f} %"
        )


class Validator:
    """Measures always on the same scenes: the first of each set."""

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        scenes: Scenes,
        names: Sequence[tuple[str, str]],
        count: int,
    ) -> None:
        self._network, self._vocabulary, self._scenes, self._names = network, vocabulary, scenes, names
        self._rows = np.concatenate(
            [np.flatnonzero(scenes.source == source)[:count] for source in np.unique(scenes.source)]
        )

    def measure(self, model: Learner) -> Validation:
        """Of the network as it is now, decoded as it will be when it is used."""
        del model
        found = evaluate(Kosmos2(self._network, self._vocabulary), self._scenes, self._rows, self._names)
        return Validation(
            found_percent=found.found.percent,
            found_hard_percent=found.found_by_place.percent,
            named_percent=found.named.percent,
            refused_percent=found.refused.percent,
            falsely_refused_percent=found.falsely_refused.percent,
            mean_overlap=found.mean_overlap,
        )
