"""Tasks come from whatever is installed, and the evaluator itself knows no simulator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import magma_eval
from magma_eval import benchmarks
from magma_eval.benchmarks import Benchmark
from magma_eval.episodes import Episode
from magma_eval.policies.choice import PolicyChoice
from magma_eval.policies.interface import PolicyMismatchError
from magma_eval.policies.source import PolicySource
from magma_eval.suites import one_task, plain_tasks, suite_episodes
from magma_eval.version import code_version, versions

from .screen_fakes import Reader, Screen


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Entry points to be found, in place of the installed ones."""
    entries: list[Any] = []
    monkeypatch.setattr(benchmarks.importlib.metadata, "entry_points", lambda group: entries)
    benchmarks.benchmarks.cache_clear()
    yield entries
    benchmarks.benchmarks.cache_clear()


def entry(name: str, load: Any) -> SimpleNamespace:
    return SimpleNamespace(name=name, value=f"{name}.benchmark:BENCHMARK", load=load)


def screens(**more: Any) -> Benchmark:
    return Benchmark(tasks=("log-in", "log-out"), make_task=Screen, **more)


def test_a_package_brings_its_tasks_and_its_own_policies(installed: list[Any]) -> None:
    installed.append(entry("screens", lambda: screens(scripted={"reader": lambda episode, seed: Reader()})))
    assert isinstance(benchmarks.make_task("log-in", images=False), Screen)
    with pytest.raises(ValueError, match="did you mean log-in or log-out"):
        benchmarks.make_task("log-it")
    choice = PolicyChoice("reader")
    assert (choice.kind, choice.training(), choice.identity()) == ("reader", "none (scripted)", "reader")
    own = Episode("screens", "log-in", "eval", 0, make="log-in", layout=0)
    assert isinstance(PolicySource(choice).for_episode(own, "", 0), Reader)
    other = Episode("arms", "push", "eval", 0, make="push", layout=0)
    with pytest.raises(PolicyMismatchError, match="no scripted reader for 'push'"):
        PolicySource(choice).for_episode(other, "", 0)


def test_a_package_that_cannot_be_loaded_is_named_and_the_others_stay(installed: list[Any]) -> None:
    def broken() -> None:
        raise ImportError("no module named browser")

    installed += [entry("broken", broken), entry("screens", screens), entry("strange", dict)]
    with pytest.warns(UserWarning) as warned:
        (found,) = benchmarks.benchmarks()
    assert found.tasks == ("log-in", "log-out")
    assert [str(w.message) for w in warned] == [
        "the tasks of broken.benchmark:BENCHMARK are left out: ImportError: no module named browser",
        "the tasks of strange.benchmark:BENCHMARK are left out: it is no Benchmark",
    ]


def test_only_the_sources_of_the_tasks_that_are_played_name_the_code(installed: list[Any], tmp_path: Path) -> None:
    (tmp_path / "screens.py").write_text("one")
    installed.append(entry("screens", lambda: screens(sources=(tmp_path,), distributions=("pytest", "not-there"))))
    mine = [Episode("screens", "log-in", "eval", 0, make="log-in", layout=0)]
    others = [Episode("fake", "reach", "eval", 0, make="reach", layout=0)]
    assert code_version(mine) != code_version(others)
    assert versions(mine)["pytest"] == pytest.__version__ and "pytest" not in versions(others)


def test_the_evaluator_imports_no_simulator_and_loads_none_for_its_suites() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(magma_eval.__file__).parent.rglob("*.py")]
    assert len(sources) > 30 and not any("magma_sim" in source or "sapien" in source.lower() for source in sources)
    code = "import sys, magma_eval.command; print(*{'sapien', 'mani_skill', 'torch', 'gymnasium'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_one_task_is_part_of_the_suite_that_plays_it() -> None:
    whole = [e for e in suite_episodes("tabletop") if e.task == "stack_blocks"]
    assert one_task("stack_blocks", "eval", 2, 3) == whole[2:5]
    random = one_task("widowx_stack_cube", "random", 7, 2)
    assert [(e.suite, e.reset_variant, e.layout) for e in random] == [("simpler-bridge", "random", n) for n in (7, 8)]
    with pytest.raises(ValueError, match="24 evaluation layouts, numbered from 0; layouts 23 to 24 were"):
        one_task("stack_blocks", "eval", 23, 2)
    with pytest.raises(ValueError, match="no suite plays the task 'simpler/widowx_stack_cube' as it is"):
        one_task("simpler/widowx_stack_cube", "eval", 0, 1)
    assert list(plain_tasks())[:2] == ["carrot_on_plate", "spoon_on_towel"] and len(plain_tasks()) == 8
