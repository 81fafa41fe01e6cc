"""Results of `./run demo` from before it was a suite of the evaluator: lines of a format of their own, no run.json.

They say less: of times only percentiles, of the configuration nothing. What they do not say is left out, not guessed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magma_eval.results.episode_result import RESULT_FORMAT, EpisodeResult
from magma_eval.typed import parse_json, shown

NOTE = "played through the robot graph, by an earlier ./run demo"
_NEEDED = (
    "task",
    "variant",
    "layout",
    "policy",
    "success",
    "success_rule",
    "steps",
    "max_steps",
    "clock",
    "duration_s",
)


def is_line(value: object) -> bool:
    """Whether a JSON value is a line of an earlier demo."""
    return isinstance(value, dict) and "format" not in value and all(name in value for name in _NEEDED)


def is_folder(folder: Path) -> bool:
    """Whether a folder without run.json is that of an earlier demo."""
    return _first_line(folder) is not None


def result_of(value: dict[str, Any]) -> EpisodeResult:
    """The result that a line tells of; ValueError says what is wrong with it."""
    task, variant, layout = value["task"], value["variant"], value["layout"]
    suite, last, first = _suite(task), value["success"], value.get("first_success_step")
    ever = last or first is not None
    told = {name: value.get(name) for name in ("arm", "teleop")}
    settings = {name: text for name, text in told.items() if text}
    if value["success_rule"] != "goal holds at the last step":
        settings["success rule"] = value["success_rule"]
    devices = value.get("corrected_by", {})
    if not isinstance(devices, dict):
        raise ValueError(f"corrected_by must be an object, got {shown(devices)}")
    return EpisodeResult.from_json(
        {
            "format": RESULT_FORMAT,
            "key": {
                "suite": suite,
                "task": task,
                "variant": variant,
                "episode_id": layout,
                "seed": 0,
                "policy": value["policy"],
                "configuration": "earlier demo",
                "code": "not stated",
                "policy_identity": value.get("policy_identity", ""),
            },
            "episode": {
                "suite": suite,
                "task": task,
                "variant": variant,
                "episode_id": layout,
                "make": task,
                "layout": layout,
                "reset_variant": variant,
            },
            "status": "ok",
            "rule": "last",
            "clock": "lockstep" if value["clock"] == "lockstep" else "wall",
            "latency_ms": None,
            "training": "not stated",
            "settings": settings,
            "corrected_by": sorted(devices),
            "success": {"last": last, "first": ever, "ever": ever},
            "first_success_step": first,
            "steps": value["steps"],
            "max_steps": value["max_steps"],
            "instruction": value.get("instruction", ""),
            "notes": [NOTE],
            "seconds": value["duration_s"],
        }
    )


def run_of(folder: Path) -> dict[str, Any]:
    """What run.json would say of an earlier demo's folder; ValueError when it is none."""
    line = _first_line(folder)
    if line is None:
        raise ValueError("it holds no results of an earlier demo")
    identity = {"policy": line["policy"], "policy_identity": line.get("policy_identity", ""), "played": "earlier demo"}
    return {"identity": identity, "suite": _suite(line["task"]), "training": "not stated", "rule": "last"}


def _first_line(folder: Path) -> dict[str, Any] | None:
    try:
        with (folder / "results.jsonl").open("rb") as file:
            value = parse_json(file.readline(1 << 20))
    except (OSError, ValueError):
        return None
    return value if is_line(value) else None


def _suite(task: object) -> str:
    """The suite that plays a task as it is; "demo" where none does."""
    from magma_eval.suites import plain_tasks

    episodes = plain_tasks().get(str(task))
    return episodes[0].suite if episodes else "demo"
