#!/usr/bin/env python3
"""Records `ros2 bag play` of a recording to ``golden/jazzy_bag_play.json``; see README.md in this folder."""

import sys
import tempfile
from pathlib import Path

from interop_bag import play, write
from interop_domains import free_domain
from interop_stock import why_no_stock
from record import GOLDEN, one_per_line


def main() -> int:
    reason = why_no_stock()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as parent:
        heard = play(write(Path(parent)), free_domain())
    path = GOLDEN / "jazzy_bag_play.json"
    members = [one_per_line(name, entries) for name, entries in heard.items()]
    path.write_text("{\n" + ",\n".join(members) + "\n}\n", encoding="utf-8")
    print(f"{path}: {len(heard['samples'])} samples, {len(heard['endpoints'])} endpoints, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
