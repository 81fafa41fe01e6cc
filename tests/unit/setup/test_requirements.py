"""What set-up installs: everything that is declared, each in one version that is pinned with its hashes."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from setup import requirements

ROOT = Path(__file__).parents[3]
LINES = requirements.lines_of(ROOT / requirements.CONSTRAINTS)
PINS = [line.removesuffix("\\").strip() for line in LINES if "==" in line]
PYTHONS = ("3.10", "3.11", "3.12")


def pinned(python: str) -> dict[str, str]:
    """The versions for a Python, by name."""
    environment = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    found = {}
    for pin in map(Requirement, PINS):
        if pin.marker is None or pin.marker.evaluate(environment):
            assert requirements.name_of(pin.name) not in found, f"{pin.name} is pinned twice for Python {python}"
            found[requirements.name_of(pin.name)] = str(pin.specifier).removeprefix("==")
    return found


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_as_it_allows(python):
    pins = pinned(python)
    for requirement in map(Requirement, requirements.wanted(ROOT, [requirements.ALL])):
        version = pins.get(requirements.name_of(requirement.name))
        assert version and requirement.specifier.contains(version, prereleases=True), (
            f"{requirement} is pinned to {version} for Python {python}; write the pins anew: "
            "./run exec python setup/lock.py"
        )


def test_what_the_repository_holds_itself_is_never_asked_of_the_index():
    declared, extras = requirements.declared(ROOT)
    assert "magma-contracts" in map(requirements.name_of, declared)
    own = {path.parent.name for path in ROOT.glob("ros2_ws/src/*/setup.py")} | {"magma_policy_client", "rclpy_dds"}
    wanted = {requirements.name_of(line) for line in requirements.wanted(ROOT, list(extras))}
    assert not wanted & {requirements.name_of(name) for name in own}


def test_what_the_requirements_need_is_pinned_too():
    pins = pinned("3.11")
    todo = [requirements.name_of(line) for line in requirements.wanted(ROOT, [requirements.ALL])]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen or name == "torch":
            continue
        seen.add(name)
        assert name in pins, f"{name} is needed and not pinned: ./run exec python setup/lock.py"
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra that is not installed here
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                todo.append(requirements.name_of(need.name))


def test_every_pin_has_hashes_and_pytorch_is_none_of_them():
    blocks = re.split(r"\n(?=\S)", (ROOT / requirements.CONSTRAINTS).read_text(encoding="utf-8"))
    for block in blocks:
        assert block.startswith("#") or "--hash=sha256:" in block, block
    assert not {name for name in pinned("3.12") if name in ("torch", "torchvision") or name.startswith("nvidia-cu")}


def test_the_names_of_requirements_are_those_of_the_index():
    for line in (
        "Foo_Bar[x,y]>=1 ; python_version<'3'",
        "foo.bar",
        "foo-bar@https://x",
        "FOO__bar~=1.0",
        "foo_bar (>1)",
    ):
        assert requirements.name_of(line) == "foo-bar"


def test_a_setup_py_is_read_without_running_it():
    text = (
        "raise SystemExit\nfrom setuptools import setup\n"
        "setup(name='x', install_requires=['a>=1', 'b'], extras_require={'pads': ['c']})\n"
    )
    assert requirements.of_setup_py(text) == (["a>=1", "b"], {"pads": ["c"]})


def test_an_unknown_extra_is_named_with_those_there_are(capsys):
    assert requirements.main(["lora", "lara"]) == 2
    said = capsys.readouterr()
    assert "'lara'" in said.err and "lora" in said.err and "quantization" in said.err and not said.out


def test_extras_add_to_what_is_always_needed(capsys):
    assert requirements.main([]) == 0
    plain = capsys.readouterr().out.splitlines()
    assert requirements.main(["quantization"]) == 0
    more = capsys.readouterr().out.splitlines()
    assert set(plain) < set(more) and any(line.startswith("bitsandbytes") for line in more)
    assert not any(requirements.name_of(line) == "torch" for line in more)


def test_a_workspace_on_ros_2_gets_what_its_own_packages_need_and_the_console():
    plain = {requirements.name_of(line) for line in requirements.wanted_by_workspace(ROOT, [])}
    console = {requirements.name_of(line) for line in requirements.wanted_by_workspace(ROOT, ["console"])}
    assert {"websockets", "mcap"} & plain and "nicegui" not in plain
    assert {"nicegui", "uvicorn", "starlette"} <= console - plain
    # What the policy alone needs, and what is on no index, comes with the packages that are installed from here.
    assert not {"torch", "transformers", "magma-contracts", "magma-policy"} & console
    assert {"ruff", "pytest"}.isdisjoint(console)
