"""What a program prints can never stop it, and a closed terminal ends it as Ctrl-C does."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap

import pytest

from magma_common.hangup import HeedlessStream


@pytest.mark.parametrize("error", [OSError(5, "EIO"), BrokenPipeError(), OSError(28, "ENOSPC"), ValueError("closed")])
def test_no_error_of_a_stream_comes_through(error):
    class Broken(io.StringIO):
        def write(self, text):
            raise error

        def flush(self):
            raise error

        def fileno(self):
            raise OSError

    stream = HeedlessStream(Broken())
    assert stream.write("three") == 5
    stream.flush()


def test_a_stream_whose_reader_is_gone_writes_nowhere_and_the_rest_of_the_program_lives():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as file:
        stream = HeedlessStream(file)
        os.close(reader)
        stream.write("lost\n")
        stream.flush()
        stream.write("also lost\n")
        file.flush()  # the descriptor itself leads to /dev/null now: others that use it are spared too
        assert os.path.samefile(f"/proc/self/fd/{file.fileno()}", os.devnull)


PROGRAM = """
    import os, signal, sys, time
    from magma_common.hangup import survive_hangup
    {before}
    survive_hangup()
    survive_hangup()
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.2)
        print("went on")
    except KeyboardInterrupt:
        print("ended in good order")
"""


@pytest.mark.parametrize(
    ("before", "says"),
    [("", "ended in good order"), ("signal.signal(signal.SIGHUP, signal.SIG_IGN)", "went on")],
    ids=["hangup", "nohup"],
)
def test_a_hangup_does_what_ctrl_c_does_unless_it_is_ignored(before, says):
    program = textwrap.dedent(PROGRAM.format(before=before))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == says and done.returncode == 0, done.stderr
