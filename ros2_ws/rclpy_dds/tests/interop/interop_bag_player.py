"""Plays a bag with the stock `ros2 bag play`: says ``ready``, plays when told by a line, says ``done``, ends by a line.

It runs with a ROS 2 sourced.
"""

import subprocess
import sys

PATIENCE_S = 60.0


def main(folder: str) -> int:
    player = subprocess.Popen(
        ["ros2", "bag", "play", "--start-paused", "--disable-keyboard-controls", folder],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
    )
    try:
        print("ready", flush=True)
        sys.stdin.readline()
        resume = ["ros2", "service", "call", "/rosbag2_player/resume", "rosbag2_interfaces/srv/Resume"]
        subprocess.run(resume, stdout=sys.stderr, check=True, timeout=PATIENCE_S)
        status = player.wait(PATIENCE_S)
        print("done", flush=True)
        sys.stdin.readline()
        return status
    finally:
        player.kill()
        player.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
