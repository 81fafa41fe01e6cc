"""What rosdep installs for a package is what the package imports from ROS 2."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[3] / "ros2_ws" / "src"
PACKAGES = sorted(path.parent for path in SOURCES.glob("*/setup.py"))
FROM_ROS = {
    "ament_index_python": "ament_index_python",
    "launch": "launch",
    "launch_ros": "launch_ros",
    "rclpy": "rclpy",
    "tf2_ros": "tf2_ros_py",
    "numpy": "python3-numpy",
    "cv2": "python3-opencv",
    "yaml": "python3-yaml",
    "matplotlib": "python3-matplotlib",
}
"""Keys of rosdep by the name that is imported. Messages and our own packages are known by their names."""


def imported(package: Path) -> set[str]:
    names = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_import_from_ros_2_is_declared(package):
    ours = {path.name for path in SOURCES.iterdir()}
    wanted = {
        FROM_ROS.get(name, name)
        for name in imported(package)
        if name in FROM_ROS or name in ours or name.endswith(("_msgs", "_interfaces", "_srvs"))
    }
    tree = ElementTree.parse(package / "package.xml")
    declared = {element.text for kind in ("depend", "exec_depend") for element in tree.iter(kind)}
    assert wanted - declared - {package.name} == set()
