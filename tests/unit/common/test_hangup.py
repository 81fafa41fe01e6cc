"""What a program prints can never stop it, and a closed terminal ends it as Ctrl-C does."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap

import pytest

from magma_common.process.hangup import HeedlessStream


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
    from magma_common.process.hangup import survive_hangup
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


CLOSED = """
    import os, sys
    for number in (0, 1, 2):
        try:
            os.close(number)
        except OSError:
            pass
    sys.stdin = sys.stdout = sys.stderr = None  # as Python makes them when it is started so
    from magma_common.process.hangup import survive_hangup
    from magma_common.process.node_main import end_process
    survive_hangup()
    print("to nobody")
    with open(sys.argv[1], "w") as file:
        file.write(str(file.fileno()))
    end_process(7)
"""


def test_a_program_started_without_streams_prints_into_no_file_and_ends_as_it_means_to(tmp_path):
    program = [sys.executable, "-c", textwrap.dedent(CLOSED), str(tmp_path / "file")]
    assert subprocess.run(program, check=False, timeout=60).returncode == 7
    assert int((tmp_path / "file").read_text()) > 2
