"""Builds the Vulkan layer of `external_semaphore_layer.c` and says how to load it into one process."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

NAME = "VK_LAYER_MAGMA_external_semaphore_fd"
SOURCE = Path(__file__).with_name("external_semaphore_layer.c")
LIBRARY = "libVkLayer_magma_external_semaphore_fd.so"
MANIFEST = "VkLayer_magma_external_semaphore_fd.json"


class LayerBuildError(RuntimeError):
    """The layer could not be compiled; the message holds what the compiler said."""


def build(directory: Path) -> None:
    """Compiles the layer into `directory` and writes the manifest that the Vulkan loader looks for."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise LayerBuildError("no C compiler found; install one: apt-get install gcc libc6-dev libvulkan-dev")
    directory.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden"]
    result = subprocess.run(
        [compiler, *flags, "-o", str(directory / LIBRARY), str(SOURCE), "-lpthread"], capture_output=True, text=True
    )
    if result.returncode:
        said = result.stderr.strip()
        raise LayerBuildError(f"the Vulkan layer does not compile (its headers: package libvulkan-dev):\n{said}")
    manifest = {
        "file_format_version": "1.1.2",
        "layer": {
            "name": NAME,
            "type": "GLOBAL",
            "library_path": f"./{LIBRARY}",
            "api_version": "1.3.239",
            "implementation_version": "1",
            "description": "Lets programs that insist on VK_KHR_external_semaphore_fd run on drivers without it",
            "device_extensions": [
                {
                    "name": "VK_KHR_external_semaphore_fd",
                    "spec_version": "1",
                    "entrypoints": ["vkGetSemaphoreFdKHR", "vkImportSemaphoreFdKHR"],
                }
            ],
        },
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def environment(directory: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables that load the layer of `directory` into a process, beside the layers that `inherited` names."""

    def joined(variable: str, ours: str) -> str:
        return ":".join(part for part in (ours, inherited.get(variable, "")) if part)

    return {
        # VK_ADD_LAYER_PATH is unknown to loaders before 1.3.207; VK_LAYER_PATH works with all of them.
        "VK_LAYER_PATH": joined("VK_LAYER_PATH", str(directory)),
        "VK_INSTANCE_LAYERS": joined("VK_INSTANCE_LAYERS", NAME),
    }
