"""What may import what: the rules that people read are those that are checked, and what is imported is declared.

    python tests/unit/setup/test_import_rules.py --write

writes the rules of pyproject.toml into CONTRIBUTING.md anew.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- import rules: written from pyproject.toml -->\n", "<!-- end of import rules -->\n"
DISTRIBUTIONS = {
    "policy": "magma_policy",
    "policy/client": "magma_policy_client",
    "sim": "magma_sim",
    "sim/magma_eval": "magma_eval",
}


def settings() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["tool"]["importlinter"]


def named(modules: list[str]) -> str:
    return ", ".join(f"`{module}`" for module in modules)


def described(contract: dict[str, Any]) -> str:
    if contract["type"] == "forbidden":
        return f"{named(contract['source_modules'])}: never {named(contract['forbidden_modules'])}"
    assert contract["type"] == "layers"
    layers = [named(re.split(r" [|:] ", layer)) for layer in contract["layers"]]
    where = "".join(f"in `{container}`: " for container in contract.get("containers", []))
    known = "".join(f"; but {rule.replace(' -> ', ' may import ')}" for rule in contract.get("ignore_imports", []))
    return where + " → ".join(layers) + known


def table() -> str:
    rows = [f"| {contract['name']} | {described(contract)} |" for contract in settings()["contracts"]]
    head = "| rule | modules; whoever stands before an arrow may import what comes after it |"
    return "\n".join([head, "|---|---|", *rows, ""])


def test_the_rules_that_people_read_are_those_that_are_checked():
    text = PAGE.read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0] == table(), f"python {Path(__file__).relative_to(ROOT)} --write"


def test_every_package_of_ours_is_under_the_rules():
    nodes = {path.parent.name for path in ROOT.glob("ros2_ws/src/*/*/__init__.py")}
    assert nodes | set(DISTRIBUTIONS.values()) | {"rclpy_dds"} == set(settings()["root_packages"])


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_a_distribution_declares_what_it_imports_of_ours(folder):
    package, ours = DISTRIBUTIONS[folder], set(settings()["root_packages"])
    imported = set()
    for path in (ROOT / folder / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    with (ROOT / folder / "pyproject.toml").open("rb") as file:
        needs = tomllib.load(file)["project"]["dependencies"]
    declared = {re.split(r"[\s\[<>=!~;]", need)[0].replace("-", "_") for need in needs}
    assert (imported & ours) - {package} == declared & ours


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2], encoding="utf-8")
