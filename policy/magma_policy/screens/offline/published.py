"""What others report for these sets, in percent, with the protocol where it decides (Yang et al. 2025, arXiv
2502.13130, tables 2, 3 and of finetuned models). Differences of protocol are as large as those of models.
"""

from __future__ import annotations

OMNIPARSER = "candidates are OmniParser's boxes, without its local semantics"
SCREENSPOT: dict[str, tuple[float, ...]] = {
    "GPT-4V": (22.6, 24.5, 20.2, 11.8, 9.2, 8.8),
    "GPT-4V + OmniParser": (92.7, 49.4, 64.9, 26.3, 77.3, 39.7),
    "Qwen-VL 9.6B": (7.5, 4.8, 5.7, 5.0, 3.5, 2.4),
    "Fuyu 8B": (41.0, 1.3, 33.0, 3.6, 33.9, 4.4),
    "SeeClick 9.6B": (78.0, 52.0, 72.2, 30.0, 55.7, 32.5),
    "Magma-8B": (60.4, 58.5, 75.3, 52.9, 69.1, 52.0),
}
"""Mobile text and icon, desktop text and icon, web text and icon; the paper's overall is their plain mean."""
VISUALWEBBENCH: dict[str, tuple[float, float]] = {
    "GPT-4V": (67.5, 75.7),
    "LLaVA-1.5 7B": (12.1, 13.6),
    "LLaVA-NeXT 7B": (15.0, 8.7),
    "Qwen-VL 9.6B": (14.0, 10.7),
    "Fuyu 8B": (19.4, 15.5),
    "SeeClick 9.6B": (9.9, 1.9),
    "Magma-8B": (96.3, 71.8),
}
"""Element grounding (413 rows) and action grounding (103)."""
MIND2WEB: dict[str, tuple[tuple[float, float, float], ...]] = {
    "SeeClick 9.6B": ((21.4, 80.6, 16.4), (28.3, 87.0, 25.5), (23.2, 84.8, 20.8)),
    "GPT-4V + OmniParser": ((41.0, 84.8, 36.5), (42.4, 87.6, 39.4), (45.5, 85.7, 42.0)),
    "Magma-8B": ((57.2, 76.9, 45.4), (54.8, 79.7, 43.4), (55.7, 80.6, 47.3)),
}
"""Finetuned. Splits website, task, domain; in each element accuracy, operation F1, step success. Qwen-VL's step success
is 9.2, 13.3 and 12.0."""
AITW: dict[str, tuple[float, ...]] = {
    "SeeClick 9.6B": (54.0, 66.4, 54.9, 63.5, 57.6, 59.3),
    "Magma-8B": (61.5, 73.2, 62.7, 77.5, 61.7, 67.3),
}
"""Finetuned. General, install, apps, single, shopping, and their plain mean."""


def lines(benchmark: str) -> list[str]:
    """What is published for one of the sets, one line each."""
    if benchmark == "screenspot":
        return [f"{name}: {' '.join(map(str, cells))}, mean {sum(cells) / 6:.1f}" for name, cells in SCREENSPOT.items()]
    if benchmark == "visualwebbench":
        return [f"{name}: element {element}, action {action}" for name, (element, action) in VISUALWEBBENCH.items()]
    if benchmark == "mind2web":
        return [
            f"{name}: " + "; ".join(" / ".join(map(str, split)) for split in splits)
            for name, splits in MIND2WEB.items()
        ]
    return [f"{name}: {' '.join(map(str, parts[:-1]))}, mean {parts[-1]}" for name, parts in AITW.items()]
