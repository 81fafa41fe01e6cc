"""Whether the meshes and images of the Bridge tasks are on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from magma_sim.tasks.interface import SimulatorUnavailableError

DATA_SET = "tasks/bridge_v2_real2sim_dataset"
ROBOT = "robots/widowx"
_NEEDED = {
    f"{DATA_SET}/custom/info_bridge_custom_v0.json": "bridge_v2_real2sim",
    f"{DATA_SET}/real_inpainting/bridge_real_eval_1.png": "bridge_v2_real2sim",
    f"{DATA_SET}/stages/bridge_table_1_v1.glb": "bridge_v2_real2sim",
    f"{ROBOT}/wx250s.urdf": "widowx250s",
}


class AssetsMissingError(SimulatorUnavailableError):
    """The data files of the Bridge tasks are not there; the message says how to get them."""


def data_folder() -> Path:
    """ManiSkill's data folder, found as ManiSkill finds it (it looks at `MS_ASSET_DIR` once, when it is imported)."""
    return Path(os.environ.get("MS_ASSET_DIR", os.path.expanduser("~/.maniskill"))) / "data"


def missing_downloads(data: Path) -> list[str]:
    """Names of ManiSkill's downloads that are missing under its data folder (`$MS_ASSET_DIR/data`)."""
    return sorted({name for path, name in _NEEDED.items() if not (data / path).exists()})


def check_assets(data: Path) -> None:
    """Raises AssetsMissingError when something that every task needs is missing under `data`."""
    missing = missing_downloads(data)
    if missing:
        commands = " && ".join(f"python -m mani_skill.utils.download_asset {name}" for name in missing)
        raise AssetsMissingError(
            f"the data of SimplerEnv's Bridge tasks is not in {data}. Download it with: {commands} "
            "(or set MS_ASSET_DIR to the folder that holds data/)"
        )
