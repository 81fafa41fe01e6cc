"""The Vulkan layer for SAPIEN 2.2.2, against Vulkan itself: a C program asks for the extension with and without it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from magma_sim.backends.simpler_original import vulkan_layer

pytestmark = [
    pytest.mark.render,
    pytest.mark.skipif(
        shutil.which("cc") is None or not Path("/usr/include/vulkan/vk_layer.h").exists(),
        reason="needs a C compiler and Vulkan's headers (apt-get install gcc libc6-dev libvulkan-dev)",
    ),
]
PROBE = Path(__file__).with_name("vulkan_layer_probe.c")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("layer")
    vulkan_layer.build(directory)
    flags = ["-std=c11", "-Wall", "-Werror"]
    subprocess.run(["cc", *flags, "-o", str(directory / "probe"), str(PROBE), "-lvulkan"], check=True)
    return directory


def probe(directory: Path, variables: dict[str, str]) -> dict[str, str]:
    result = subprocess.run(
        [str(directory / "probe")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return dict(line.split("=", 1) for line in result.stdout.splitlines())


def test_with_the_layer_a_driver_without_the_extension_serves_whoever_insists_on_it(built: Path) -> None:
    plain = probe(built, {})
    if plain["listed"] == "1":
        pytest.skip(f"{plain['device']} has the extension itself")
    assert plain["create_device"] != "0"
    layered = probe(built, vulkan_layer.environment(built, {}))
    assert layered == {
        "device": plain["device"],
        "too_short": "incomplete",
        "listed": "1",
        "create_device": "0",
        "create_semaphore": "0",
        "timeline": "7",
        "get_fd": "refused",
        "end": "0",
    }


def test_the_layer_joins_layers_that_are_loaded_already(tmp_path: Path) -> None:
    variables = vulkan_layer.environment(tmp_path, {"VK_INSTANCE_LAYERS": "VK_LAYER_other", "VK_LAYER_PATH": "/other"})
    assert variables["VK_INSTANCE_LAYERS"] == f"{vulkan_layer.NAME}:VK_LAYER_other"
    assert variables["VK_LAYER_PATH"] == f"{tmp_path}:/other"


def test_without_a_compiler_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(vulkan_layer.LayerBuildError, match="apt-get install gcc"):
        vulkan_layer.build(tmp_path)
