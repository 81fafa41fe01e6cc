"""The launched robot; the fixtures of the graph tests serve whole graphs too."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_path = Path(__file__).resolve().parents[1] / "graph" / "conftest.py"
_spec = importlib.util.spec_from_file_location("graph_fixtures", _path)
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

ros_domain, start_node, peer, wait = _fixtures.ros_domain, _fixtures.start_node, _fixtures.peer, _fixtures.wait


class Launched:
    """`ros2 launch magma_bringup robot.launch.py` in a process group of its own."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        ros2 = shutil.which("ros2") or str(Path(sys.executable).with_name("ros2"))
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [ros2, "launch", "magma_bringup", "robot.launch.py", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def interrupt(self) -> int:
        """Ctrl-C, once; its exit status when it has ended."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60.0)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20.0)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        print(f"--- output of the launch\n{self.log.read_text(errors='replace')}")


@pytest.fixture
def launch(ros_domain, tmp_path):
    launched = []

    def start(*arguments: str) -> Launched:
        launched.append(Launched(tmp_path / f"launch-{len(launched)}.log", *arguments))
        return launched[-1]

    yield start
    for item in launched:
        item.end()
