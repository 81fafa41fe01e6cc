"""Writes setup/constraints.txt anew: one exact version of everything that comes from the package index, for Python 3.10
to 3.12, with the hashes that the index gives.

    ./run exec python setup/lock.py [--upgrade]

To be run after a change of a distribution's dependencies; needs `uv` (`pip install uv`). Versions stay as they are
where they can; with --upgrade all become the newest ones. What is pinned for the results' sake stands in the
distributions themselves.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from requirements import ALL, CONSTRAINTS, ROOT, of_torch, wanted

HEAD = """\
# Written by setup/lock.py: one version of every package from the index, with its hashes; pip holds to
# both with `pip install -c setup/constraints.txt NAME…`, as `./run` calls it. PyTorch is not here: its CPU build comes
# from an index of its own, under another version and with other hashes than the CUDA build.
"""


def main(words: list[str]) -> int:
    """Exit status: that of uv, or 2 when it cannot be called."""
    uv = shutil.which("uv")
    if uv is None or not set(words) <= {"--upgrade"}:
        print("usage: ./run exec python setup/lock.py [--upgrade]; it needs uv (pip install uv)", file=sys.stderr)
        return 2
    target = ROOT / CONSTRAINTS
    if not list(of_torch()):
        print("PyTorch is not installed here, so what it needs is not known: use ./run exec", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        needs, without = Path(folder, "needs.in"), Path(folder, "without.txt")
        needs.write_text("\n".join(wanted(ROOT, [ALL])), encoding="utf-8")
        # Needed by no Python there is: so nobody's dependency brings PyTorch in.
        without.write_text("torch; python_version < '3'", encoding="utf-8")
        options = ["--universal", "--python-version=3.10", "--generate-hashes", "--no-python-downloads"]
        options += ["--no-header", "--no-annotate", "--quiet", f"--override={without}", *words]
        # uv leaves out what it holds for unsafe to pin, the tools that build packages; here they are pinned, too.
        command = [uv, "pip", "compile", *options, "--allow-unsafe", f"--output-file={target}", str(needs)]
        status = subprocess.run(command, check=False).returncode
    if status == 0:
        target.write_text(HEAD + target.read_text(encoding="utf-8"), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
