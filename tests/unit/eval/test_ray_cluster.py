"""Which clusters are joined, and what is left of one whose driver is gone; without Ray."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from magma_eval.policies.choice import PolicyChoice
from magma_eval.pools.admission import Admission, code_facts, machine_facts
from magma_eval.pools.ray_cluster import (
    MODE,
    TOKEN,
    TOKEN_PATH,
    RayError,
    check_settings,
    listening,
    members_of,
    remove_leftovers,
)
from magma_eval.run.plan import RunConfig

WRITES = "import sys, time; file = open(sys.argv[1], 'w'); print(flush=True); time.sleep(600)"
DRIVER = """
import subprocess, sys, tempfile, time
tempfile.tempdir = sys.argv[1]
from magma_eval.pools.ray_cluster import _folder_with_guard
with _folder_with_guard() as folder:
    # As Ray's are, not a child that ends with its parent.
    member = subprocess.Popen([sys.executable, "-S", "-c", sys.argv[2], str(folder / "log")], start_new_session=True,
                              stdout=subprocess.PIPE)
    member.stdout.readline()
    print(folder, member.pid, flush=True)
    time.sleep(600)
"""
READS = "import sys, time; file = open(sys.argv[1]); print(flush=True); time.sleep(600)"


def holder(code: str, path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-S", "-c", code, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.parametrize("mode", [None, "", "disabled", "Token"])
def test_a_cluster_without_a_token_is_not_joined(mode: str | None, tmp_path: Path) -> None:
    variables = {TOKEN: "t" * 32} if mode is None else {TOKEN: "t" * 32, MODE: mode}
    with pytest.raises(RayError, match=f"{MODE} is .*whoever reaches a Ray cluster may run code"):
        check_settings("10.0.0.1:6379", variables)
    check_settings(None, variables)  # one of this machine gets a token of its own


def test_the_token_stands_in_a_variable_or_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "token"
    file.write_text(" \n")
    for variables in ({}, {TOKEN: " "}, {TOKEN_PATH: str(file)}, {TOKEN_PATH: str(tmp_path / "none")}):
        with pytest.raises(RayError, match="needs the cluster's token"):
            check_settings("auto", {MODE: "token", **variables})
    file.write_text("secret\n")
    check_settings("auto", {MODE: "token", TOKEN_PATH: str(file)})
    check_settings("[::1]:6379", {MODE: "token", TOKEN: "secret"})
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    check_settings("auto", {MODE: "token"})


@pytest.mark.parametrize("address", ["", "here", ":6379", "head:", "head:0", "head:70000", "head:x"])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(RayError, match="HOST:PORT"):
        check_settings(address, {MODE: "token", TOKEN: "secret"})


@pytest.mark.parametrize(
    "changes", [{"ray_policies": 0}, {"ray_policy_gpus": -0.5}, {"ray_policy_gpus": 1.5}, {"ray_policy_gpus": 65.0}]
)
def test_policies_of_a_cluster_are_some_with_shares_of_gpus(changes: dict[str, float], tmp_path: Path) -> None:
    checkpoint = PolicyChoice(str(tmp_path))
    RunConfig(checkpoint, "tabletop", tmp_path, ray="", ray_policies=4, ray_policy_gpus=0.5)
    with pytest.raises(ValueError, match="at least 1 policy, with a share of one GPU or 0 to 64 whole ones"):
        RunConfig(checkpoint, "tabletop", tmp_path, ray="", **changes)  # type: ignore[arg-type]
    for policy, ray in ((checkpoint, None), (PolicyChoice("hold"), "")):
        with pytest.raises(ValueError, match="of a checkpoint on a cluster: they need --ray"):
            RunConfig(policy, "tabletop", tmp_path, ray=ray, ray_policies=2)


def test_only_what_a_dead_driver_left_is_ended(tmp_path: Path) -> None:
    gone, there = tmp_path / "magma-ray-1-1", tmp_path / "other-1-1"
    for folder in (gone, there):
        (folder / "logs").mkdir(parents=True)
        (folder / "logs" / "read").touch()
    left, reader = holder(WRITES, gone / "logs" / "raylet.out"), holder(READS, gone / "logs" / "read")
    other = holder(WRITES, there / "logs" / "raylet.out")
    try:
        assert members_of(gone) == [left.pid]
        assert remove_leftovers(tmp_path) == [gone] and not gone.exists()
        assert left.wait(10) < 0 and reader.poll() is None and other.poll() is None
    finally:
        for process in (left, reader, other):
            process.kill()
            process.wait()


def test_a_driver_that_is_killed_leaves_neither_processes_nor_a_folder(tmp_path: Path) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), WRITES], stdout=subprocess.PIPE)
    assert driver.stdout is not None
    folder, pid = driver.stdout.readline().decode().split()
    driver.kill()
    driver.wait()
    until = time.monotonic() + 60
    while Path(folder).exists() or Path("/proc", pid).exists():
        assert time.monotonic() < until, "what the driver left is still there"
        time.sleep(0.05)


def test_it_is_told_which_ports_listen_where(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as near, socket.create_server(("", 0)) as everywhere:
        found = {port.number: port.address for port in listening(tmp_path)}
        assert found[near.getsockname()[1]] == "127.0.0.1" and found[everywhere.getsockname()[1]] == "*"


def test_a_machine_that_differs_is_refused_with_every_difference() -> None:
    told: list[dict[str, str]] = []
    admission = Admission({"code": "a", "policy": "p"}, lambda facts: told.append(dict(facts)))
    assert admission.objection("node 1", {"code": "a", "renderer": "llvmpipe"}) == ""
    assert told == [{"code": "a", "policy": "p", "renderer": "llvmpipe"}]
    why = admission.objection("node 2", {"code": "b", "renderer": "H200", "policy": "p"})
    assert "node 2" in why and "its code that plays episodes is b, the run's is a" in why
    assert "its renderer is H200, the run's is llvmpipe" in why and len(told) == 1
    # The next part of the run knows what the first one found.
    assert "renderer" in Admission(told[0]).objection("node 3", {"renderer": "H200"})


def test_facts_name_code_versions_data_and_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "factory" not in code_facts(["carrot_on_plate"], "no_such_module_here:make_task")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    facts = code_facts(["carrot_on_plate"], "evaluation_fakes:make_task")
    assert {"code", "python", "factory", "version of numpy", "version of sapien"} <= set(facts)
    assert "factory" not in code_facts(["carrot_on_plate"], "magma_eval.benchmarks:make_task")
    assert machine_facts(["reach"], False, PolicyChoice("hold"), served=False) == {"policy": "hold"}
    assert machine_facts(["carrot_on_plate"], False, PolicyChoice("hold"), served=True) == {}


def test_data_files_are_known_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from magma_sim.registry import data_files

    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path))
    mesh = tmp_path / "data" / "robots" / "widowx" / "arm.glb"
    mesh.parent.mkdir(parents=True)
    mesh.write_bytes(b"one")
    first = data_files(["widowx_carrot_on_plate", "carrot_on_plate"])
    mesh.write_bytes(b"two")
    assert set(first) == {"simpler-bridge"} and data_files(["widowx_carrot_on_plate"]) != first
