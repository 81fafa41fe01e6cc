"""The fixtures of the graph tests serve whole graphs too."""

import importlib.util
from pathlib import Path

_path = Path(__file__).resolve().parents[1] / "graph" / "conftest.py"
_spec = importlib.util.spec_from_file_location("graph_fixtures", _path)
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

ros_domain, start_node, peer, wait = _fixtures.ros_domain, _fixtures.start_node, _fixtures.peer, _fixtures.wait
