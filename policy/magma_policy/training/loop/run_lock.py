"""One training run per folder."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from magma_policy.training.loop.saved_run import SavedRunError

FILE = "run.lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that knows no locks."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Within, no other process trains into the folder, which is made. The kernel lets go of the lock when the process
    ends, however it does. A folder that stays empty is removed again.

    Raises:
        SavedRunError: another process trains into it, or it is none that can be written to.
    """
    path = folder / FILE
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(path)
    except OSError as error:
        raise SavedRunError(f"{folder}: no folder that can be trained into ({error.strerror})") from error
    try:
        yield
    finally:
        # While it is still held, so that no other file of this name is locked by then.
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)
        for parent in made:
            with suppress(OSError):
                parent.rmdir()


def _locked(path: Path) -> int:
    """Descriptor of the locked file."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise SavedRunError(
                f"{path.parent}: a training run (process {owner or 'unknown'}) is under way in it; wait for it, or "
                "choose another output"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(descriptor)
                raise
            print(f"{path.parent}: its file system knows no locks; start no other run in it", file=sys.stderr)
            return descriptor
        # The run that had it may have removed it in between; then another one may lock a new file of this name.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                return descriptor
        os.close(descriptor)
