"""Where the original SimplerEnv is installed, and how to install it: `magma-simpler-setup --source URL_OR_FOLDER`.

It lives in a folder of its own, `$MAGMA_SIMPLER_HOME` or ~/.local/share/magma/simpler: virtual environment, the clone,
the Vulkan layer, and `installation.json`, which is written last, when an image has been rendered.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from magma_contracts.files.outputs import explained
from magma_contracts.interruption import ends_on_interrupt
from magma_contracts.text import printable
from magma_eval.typed import check_fields, parse_json
from magma_sim.backends.simpler_original import vulkan_layer
from magma_sim.tasks.interface import SimulatorUnavailableError

REQUIREMENTS = (
    "sapien==2.2.2",  # SimplerEnv is written for it; SAPIEN 3 has another interface
    "numpy<2",  # SAPIEN 2.2.2 is compiled against numpy 1
    "gymnasium>=0.28.1,<1",  # as mani_skill2_real2sim asks
    "setuptools<81",  # SAPIEN 2.2.2 imports pkg_resources, which newer ones lack
    "opencv-python-headless<4.12",  # newer ones need numpy 2
    "scipy",
    "transforms3d",
    "trimesh",
    "rtree",
    "ruckig",
    "pyyaml",
    "h5py",
    "GitPython",
    "gdown",
    "tabulate",
    "tqdm",
    "imageio[ffmpeg]",
)
"""What SimplerEnv's environments import. Its policies (Octo, RT-1) need far more and are not installed."""


class NotInstalledError(SimulatorUnavailableError):
    """SimplerEnv is not installed here; the message says how to install it."""


class SetupError(RuntimeError):
    """The installation failed; the message says what to do."""


@dataclass(frozen=True)
class Installation:
    """A finished installation."""

    python: str
    """its interpreter"""
    source: str
    """folder that holds simpler_env/ and ManiSkill2_real2sim/"""
    layer: str
    """folder of the Vulkan layer"""
    revision: str
    """commit of SimplerEnv, or "unknown" where the folder is no clone"""

    @property
    def overlays(self) -> Path:
        """Folder of the photographs that SimplerEnv lays under its scenes."""
        return Path(self.source) / "ManiSkill2_real2sim" / "data" / "real_inpainting"

    def environment(self) -> dict[str, str]:
        """Variables for the worker process: the Vulkan layer where there is no real GPU, and quiet logs."""
        variables = {"MS2_REAL2SIM_ASSET_DIR": str(Path(self.source) / "ManiSkill2_real2sim" / "data")}
        if not has_gpu():
            variables |= vulkan_layer.environment(Path(self.layer), os.environ)
        return variables


def home() -> Path:
    """The folder of the installation."""
    return Path(os.environ.get("MAGMA_SIMPLER_HOME") or Path.home() / ".local" / "share" / "magma" / "simpler")


def has_gpu() -> bool:
    """Whether a graphics device of its own is there, so that software rendering and the layer are not needed."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or any(Path("/dev/dri").glob("renderD*"))


def find() -> Installation:
    """The installation of this machine; NotInstalledError where there is none."""
    record = home() / "installation.json"
    try:
        installation = Installation(**parse_json(record.read_bytes()))
        check_fields(installation)
    except FileNotFoundError:
        raise NotInstalledError(
            "the original SimplerEnv is not installed; run: ./run setup-simpler --source URL_OR_FOLDER "
            "(for example https://github.com/simpler-env/SimplerEnv)"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise NotInstalledError(f"{record} is damaged ({printable(error)}); run ./run setup-simpler again") from error
    for path in (installation.python, installation.source):
        if not Path(path).exists():
            raise NotInstalledError(f"{path}, named in {record}, is gone; run ./run setup-simpler again")
    return installation


@dataclass(frozen=True)
class SetupConfig:
    """Installs the original SimplerEnv in an environment of its own."""

    source: str
    """git URL of SimplerEnv, or a folder that holds a clone with its submodule ManiSkill2_real2sim"""
    python: str = ""
    """a Python 3.10 or 3.11 (SAPIEN 2.2.2 has wheels for no other); default: the first that is found"""


def set_up(config: SetupConfig) -> Installation:
    """Does what the module says, showing each step. Raises SetupError."""
    target = home()
    target.mkdir(parents=True, exist_ok=True)
    record = target / "installation.json"
    record.unlink(missing_ok=True)
    python = config.python or find_python()
    source = get_source(config.source, target)
    for missing in missing_stages(source):
        print(f"  note: {missing} is missing; its tasks will say so")
    print("  Python environment", flush=True)
    environment = target / "venv"
    run([python, "-m", "venv", str(environment)])
    own_python = environment / "bin" / "python"
    run([str(own_python), "-m", "pip", "install", "-q", *REQUIREMENTS])
    # A path entry instead of `pip install -e`, which would write into a folder that is not ours.
    where = run([str(own_python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    Path(where, "simpler_env.pth").write_text(f"{source}\n{source / 'ManiSkill2_real2sim'}\n")
    print("  Vulkan layer", flush=True)
    try:
        vulkan_layer.build(target / "layer")
    except vulkan_layer.LayerBuildError as error:
        raise SetupError(str(error)) from error
    installation = Installation(str(own_python), str(source), str(target / "layer"), revision_of(source))
    print("  A first image", flush=True)
    check(installation)
    record.write_text(json.dumps(asdict(installation), indent=1) + "\n")
    return installation


def find_python() -> str:
    """A Python that SAPIEN 2.2.2 has wheels for."""
    if sys.version_info[:2] in ((3, 10), (3, 11)):
        return sys.executable
    for name in ("python3.11", "python3.10"):
        if path := shutil.which(name):
            return path
    raise SetupError(
        "SAPIEN 2.2.2 needs Python 3.10 or 3.11, and neither is here; install one and give it with --python"
    )


def get_source(source: str, target: Path) -> Path:
    """The folder of SimplerEnv: the one that was given, or a clone of the URL."""
    if "://" in source or source.startswith("git@"):
        clone = target / "SimplerEnv"
        if not clone.exists():
            print(f"  cloning {source}")
            run(
                [
                    "git",
                    "clone",
                    "-q",
                    "--depth",
                    "1",
                    "--recurse-submodules",
                    "--shallow-submodules",
                    source,
                    str(clone),
                ]
            )
        folder = clone
    else:
        folder = Path(source).expanduser().resolve()
    for part in ("simpler_env", "ManiSkill2_real2sim/mani_skill2_real2sim"):
        if not (folder / part).is_dir():
            raise SetupError(f"{folder} has no {part}; it is not SimplerEnv, or its submodule was not fetched")
    return folder


def missing_stages(source: Path) -> list[str]:
    """Scene files that tasks of the suites need and that are not there."""
    stages = source / "ManiSkill2_real2sim" / "data" / "hab2_bench_assets" / "stages"
    needed = ("bridge_table_1_v1", "bridge_table_1_v2", "google_pick_coke_can_1_v4", "frl_apartment_stage_simple")
    return [str(stages / f"{name}.glb") for name in needed if not (stages / f"{name}.glb").exists()]


def revision_of(folder: Path) -> str:
    """The commit that is checked out in the folder itself, or "unknown"."""
    result = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--show-toplevel", "HEAD"], capture_output=True, text=True
    )
    lines = result.stdout.split()
    return lines[1] if result.returncode == 0 and Path(lines[0]) == folder else "unknown"


def check(installation: Installation) -> None:
    """Renders one image with the worker, or raises SetupError."""
    from magma_sim.backends.simpler_original.client import Worker, WorkerError, WorkerLostError

    try:
        worker = Worker(installation)
        try:
            body: dict[str, object] = {
                "env_id": None,
                "task": "widowx_carrot_on_plate",
                "arguments": {},
                "images": True,
                "rasterise": False,
            }
            worker.ask("make", body, timeout_s=300.0)
            worker.ask("render_large", {}, timeout_s=300.0)
        finally:
            worker.close()
    except (WorkerError, WorkerLostError) as error:
        raise SetupError(f"SimplerEnv is installed but does not render: {error}") from error


def run(command: list[str]) -> str:
    """What a command prints; SetupError with its words when it fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise SetupError(f"{command[0]} is not installed") from error
    if result.returncode:
        raise SetupError(f"{' '.join(command[:6])} … failed:\n{(result.stderr or result.stdout).strip()[-2000:]}")
    return result.stdout


def main() -> None:
    """Command line entry."""
    config = tyro.cli(SetupConfig, description=__doc__)
    try:
        with ends_on_interrupt("magma-simpler-setup", "run the same command again to go on"):
            installation = set_up(config)
    except (SetupError, OSError) as error:
        sys.exit(f"magma-simpler-setup: {explained(error)}")
    print(f"SimplerEnv ({installation.revision}) is ready in {home()}.")


if __name__ == "__main__":
    main()
