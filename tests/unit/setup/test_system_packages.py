"""Which system packages a machine lacks, found out before anything is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from setup import system_packages as packages


def manifest(folder: Path, name: str, library: str) -> Path:
    path = folder / "vulkan" / "icd.d" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": {"library_path": library}}))
    return path


def test_each_library_that_does_not_load_names_its_package_once(monkeypatch):
    monkeypatch.setattr(packages, "loads", lambda library: "GL" in library)
    monkeypatch.setattr(packages, "has_vulkan_driver", lambda *_: True)
    missing = packages.missing()
    assert "libgl1" not in missing and {"libgomp1", "libglib2.0-0", "libx11-6"} <= set(missing)
    assert len(missing) == len(set(missing))


def test_a_machine_without_a_driver_needs_mesas(monkeypatch):
    monkeypatch.setattr(packages, "loads", lambda library: True)
    monkeypatch.setattr(packages, "driver_manifests", lambda environment: iter(()))
    monkeypatch.setattr(packages, "distribution", lambda: ("ubuntu", "24.04"))
    assert packages.missing() == ["mesa-vulkan-drivers"]


def test_python_without_ensurepip_needs_debians_package_for_it(monkeypatch):
    monkeypatch.setattr(packages, "loads", lambda library: True)
    monkeypatch.setattr(packages, "has_vulkan_driver", lambda *_: True)
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else name)
    monkeypatch.setattr(packages.sys, "version_info", type("V", (), {"major": 3, "minor": 12}))
    assert packages.missing() == ["python3.12-venv"]


@pytest.mark.parametrize(
    ("library", "mesa", "loads", "enough"),
    [
        ("/usr/lib/libvulkan_lvp.so", 25, True, True),
        ("/usr/lib/libvulkan_lvp.so", 22, True, False),  # as in Debian 12: SAPIEN does not render with it
        ("/usr/lib/libvulkan_lvp.so", None, True, True),  # built by the person: who knows its version?
        ("/usr/lib/libvulkan_lvp.so", 25, False, False),
        ("libGLX_nvidia.so.0", 22, True, True),
        ("libGLX_nvidia.so.0", None, False, False),
    ],
)
def test_a_driver_counts_when_it_loads_and_is_new_enough(tmp_path, library, mesa, loads, enough):
    path = manifest(tmp_path, "driver", library)
    assert packages.has_vulkan_driver(iter([path]), mesa, lambda name: loads and name == library) == enough


def test_a_damaged_manifest_counts_for_nothing_and_a_later_one_may_do(tmp_path):
    bad = [manifest(tmp_path, name, "x") for name in ("a", "b", "c")]
    bad[0].write_text("{")
    bad[1].write_text("[]")
    bad[2].unlink()
    assert not packages.has_vulkan_driver(iter(bad), None, lambda name: True)
    good = manifest(tmp_path, "d", "libx.so")
    assert packages.has_vulkan_driver(iter([*bad, good]), None, lambda name: name == "libx.so")


def test_a_library_with_a_relative_path_lies_beside_its_manifest(tmp_path):
    path = manifest(tmp_path, "driver", "../lib.so")
    asked: list[str] = []
    packages.has_vulkan_driver(iter([path]), None, lambda name: bool(asked.append(name)))
    assert asked == [str(path.parent / "../lib.so")]


def test_manifests_are_looked_for_where_the_vulkan_loader_does(tmp_path):
    home, data = tmp_path / "home", tmp_path / "data"
    mine = manifest(home / ".local" / "share", "mine", "x")
    shared = manifest(data, "shared", "x")
    environment = {"HOME": str(home), "XDG_DATA_DIRS": str(data)}
    assert {mine, shared} <= set(packages.driver_manifests(environment))
    named = {**environment, "VK_DRIVER_FILES": f"/a.json:{mine}"}
    assert list(packages.driver_manifests(named)) == [Path("/a.json"), mine]


def test_debian_12_takes_the_driver_from_its_backports(tmp_path):
    release = tmp_path / "os-release"
    release.write_text('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n')
    assert packages.vulkan_package(packages.distribution(release)) == "mesa-vulkan-drivers/bookworm-backports"
    release.write_text('ID=ubuntu\nVERSION_ID="24.04"\n')
    assert packages.vulkan_package(packages.distribution(release)) == "mesa-vulkan-drivers"
    assert packages.distribution(tmp_path / "none") == ("", "")


def test_a_browser_is_asked_for_where_there_is_none_and_a_package_of_it(monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    assert packages.browser_packages(("debian", "12")) == ["chromium", "chromium-sandbox"]
    assert packages.browser_packages(("ubuntu", "24.04")) == [], "a snap, which no container can run"
    monkeypatch.setattr(packages.shutil, "which", lambda name: name if name == "google-chrome" else None)
    assert packages.browser_packages(("debian", "12")) == []


def test_only_who_runs_the_tests_needs_a_browser_and_a_reader(monkeypatch, capsys):
    monkeypatch.setattr(packages, "missing", lambda: ["libgl1"])
    monkeypatch.setattr(packages, "browser_packages", lambda system: ["chromium"])
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    packages.main([])
    assert capsys.readouterr().out == "libgl1\n"
    packages.main(["--tests"])
    assert capsys.readouterr().out == "libgl1\nchromium\ntesseract-ocr\n"
    monkeypatch.setattr(packages.shutil, "which", lambda name: f"/usr/bin/{name}")
    packages.main(["--tests"])
    assert capsys.readouterr().out == "libgl1\nchromium\n"
