"""`ros2 launch` with real processes: output, events, restarts, and above all that nothing is left when it ends."""

import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import textwrap
import time
from pathlib import Path

import pytest

from rclpy_dds.launch.actions import execute_process

_TIMEOUT_S = 120.0  # only a failing test, or a very busy machine, waits that long
# Prints its process id and waits for a signal; `ignoring` makes it deaf to SIGINT and SIGTERM.
_CHILD = """
import os, signal, sys, time
if "ignoring" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
end = time.monotonic() + 600  # whatever happens to the test
try:
    sys.stdout.write(f"pid {os.getpid()}\\n")  # in one piece: relatives share the pipe; may be interrupted from here on
    while time.monotonic() < end:
        time.sleep(0.05)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
_HEADER = """
import sys
from launch import LaunchDescription
from launch.actions import *
from launch.conditions import *
from launch.event_handlers import *
from launch.events import Shutdown as ShutdownEvent
from launch.events import process as process_events
from launch.substitutions import *
from launch_ros.actions import *

def python(code, *arguments, **kwargs):
    kwargs.setdefault("output", "screen")
    kwargs.setdefault("name", "child")
    return ExecuteProcess(cmd=[sys.executable, "-c", code, *arguments], **kwargs)

def generate_launch_description():
    return LaunchDescription([
{entities}
    ])
"""


class Launch:
    """A running `ros2 launch`, whose output collects in a file."""

    def __init__(self, folder: Path, entities: str, *arguments: str, environment=None) -> None:
        (folder / "child.py").write_text(_CHILD)
        file = folder / "test.launch.py"
        file.write_text(_HEADER.replace("{entities}", textwrap.indent(textwrap.dedent(entities), " " * 8)))
        self.output_path = folder / "output.txt"
        self.log_root = folder / "logs"
        with open(self.output_path, "w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rclpy_dds.cli.main", "launch", str(file), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "ROS_LOG_DIR": str(self.log_root), **(environment or {})},
            )

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    def wait_for(self, pattern: str, count: int = 1) -> list[str]:
        """Wait until the pattern occurs `count` times in the output and return the matches."""
        deadline = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < deadline:
            found = re.findall(pattern, self.output)
            if len(found) >= count:
                return found
            assert self.process.poll() is None or len(re.findall(pattern, self.output)) >= count, self.output
            time.sleep(0.02)
        raise AssertionError(f"{pattern!r} did not appear in:\n{self.output}")

    def signal(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the end and return the exit status."""
        return self.process.wait(_TIMEOUT_S)


@pytest.fixture
def launch(tmp_path):
    """Start a launch of some entities; whatever still runs after the test is killed."""
    started = []

    def start(entities: str, *arguments: str, **kwargs) -> Launch:
        started.append(Launch(tmp_path, entities, *arguments, **kwargs))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
            for pid in re.findall(r"pid (\d+)", each.output):
                if runs(pid):
                    os.kill(int(pid), signal.SIGKILL)


def runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_output_arguments_conditions_and_exit_status(launch):
    launched = launch(
        """
        DeclareLaunchArgument("who", default_value="nobody", description="whom to greet"),
        DeclareLaunchArgument("loud", default_value="false"),
        LogInfo(msg=["greeting ", LaunchConfiguration("who")]),
        python("import sys; print('hello', sys.argv[1]); print('oops', file=sys.stderr)", LaunchConfiguration("who"),
               name="greeter"),
        python("print('LOUD')", condition=IfCondition(LaunchConfiguration("loud"))),
        python("print('quiet')", condition=UnlessCondition(LaunchConfiguration("loud"))),
        python("print('to the log only')", output="log"),
        python("import os; print(os.environ['COLOUR'], os.environ['SIZE'])", additional_env={"SIZE": "big"}),
        SetEnvironmentVariable("COLOUR", "too late"),
        """,
        "who:=world",
        environment={"COLOUR": "red"},
    )
    assert launched.end() == 0
    output = launched.output
    assert "[INFO] [launch.user]: greeting world" in output
    assert "[greeter-1] hello world" in output
    assert "[greeter-1] oops" in output
    assert "[child-2] quiet" in output
    assert "LOUD" not in output
    assert "to the log only" not in output
    assert "[child-4] red big" in output
    assert len(re.findall("process has finished cleanly", output)) == 4
    (log,) = launched.log_root.glob("*/launch.log")
    assert "to the log only" in log.read_text() and "hello world" not in log.read_text()


def test_unknown_arguments_name_the_known_ones_and_start_nothing(launch):
    launched = launch(
        """
        DeclareLaunchArgument("who", default_value="nobody"),
        python("print('started')", LaunchConfiguration("undeclared", default="x")),
        """,
        "hwo:=world",
    )
    assert launched.end() == 1
    assert "unknown launch argument 'hwo'; this launch file knows: undeclared, who" in launched.output
    assert "started" not in launched.output


def test_an_undeclared_argument_that_is_read_is_accepted(launch):
    launched = launch("LogInfo(msg=LaunchConfiguration('free'))", "free:=yes")
    assert launched.end() == 0
    assert "[launch.user]: yes" in launched.output


def test_a_missing_required_argument_ends_the_launch(launch):
    launched = launch("python('print(1)'), DeclareLaunchArgument('needed', description='the point'),")
    assert launched.end() == 1
    assert "missing required argument 'needed' (description: 'the point')" in launched.output
    assert "process started" not in launched.output


def test_an_error_in_a_launch_file_starts_nothing_and_shows_where(launch):
    launched = launch("python('print(1)'), OpaqueFunction(function=lambda context: 1 / 0),", "--debug")
    assert launched.end() == 1
    assert "division by zero" in launched.output
    assert "test.launch.py" in launched.output
    assert "process started" not in launched.output


def test_show_args_and_print(launch):
    entities = """
        DeclareLaunchArgument("who", default_value="nobody", description="Whom to greet", choices=["nobody", "me"]),
        GroupAction([DeclareLaunchArgument("where")], condition=IfCondition("true")),
        LogInfo(msg="hi"),
    """
    shown = launch(entities, "--show-args")
    assert shown.end() == 0
    assert shown.output == textwrap.dedent("""\
        Arguments (pass arguments as '<name>:=<value>'):

            'who':
                Whom to greet. Valid choices are: ['nobody', 'me']
                (default: 'nobody')

            'where':*
                no description given

        * argument(s) which are only used if specific conditions occur
        """)
    printed = launch(entities, "--print")
    assert printed.end() == 0
    assert "└── LogInfo('hi')" in printed.output


def test_ctrl_c_reaches_all_processes(launch):
    launched = launch(
        """
        ExecuteProcess(cmd=[sys.executable, "child.py"], output="screen"),
        ExecuteProcess(cmd=[sys.executable, "child.py"], output="screen", emulate_tty=True),
        """
    )
    pids = launched.wait_for(r"pid (\d+)", 2)
    launched.signal()
    assert launched.end() == 0
    assert len(re.findall("interrupted", launched.output)) == 2 + 1  # and launch's own message
    assert not any(map(runs, pids))


def test_grace_before_killing_fits_into_five_seconds():
    total = (
        execute_process.DEFAULT_SIGTERM_TIMEOUT_S
        + execute_process.DEFAULT_SIGKILL_TIMEOUT_S
        + 2 * execute_process.HURRY_TIMEOUT_S
    )
    assert total < 5.0


# A shell that leaves a grandchild in its own session, one that has left the session, and one that is orphaned.
_FAMILY = """
ExecuteProcess(shell=True, output="screen", sigterm_timeout="0.3", sigkill_timeout="0.3", cmd=[
    sys.executable, " child.py ignoring & setsid ", sys.executable, " child.py ignoring & (",
    sys.executable, " child.py ignoring &) ; wait",
]),
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_even_of_deaf_grandchildren(launch, number):
    launched = launch(
        _FAMILY + "ExecuteProcess(cmd=[sys.executable, 'child.py', 'ignoring'], output='screen')",
        "sigterm_timeout:=0.3",
        "sigkill_timeout:=0.3",
    )
    pids = launched.wait_for(r"pid (\d+)", 4)
    launched.signal(number)
    assert launched.end() == 0
    assert "escalating to 'SIGKILL'" in launched.output
    assert not any(map(runs, pids))


def _in_a_terminal(folder: Path, entities: str) -> tuple[subprocess.Popen, int]:
    """Start a launch of some entities as the leader of a pseudo-terminal's session; return it and the terminal."""
    file = folder / "test.launch.py"
    file.write_text(_HEADER.replace("{entities}", textwrap.indent(entities, " " * 8)))
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rclpy_dds.cli.main", "launch", str(file)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env={**os.environ, "ROS_LOG_DIR": str(folder / "logs")},
    )
    os.close(terminal)
    return process, master


def _pids_in(folder: Path, count: int) -> list[str]:
    """Wait until so many children wrote their process id into a file of the folder; return the ids."""
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        found = [path.name.removeprefix("pid-") for path in folder.glob("pid-*")]
        if len(found) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError("the children did not start")


# Says where it is in a file, since nobody reads the terminal; writes all the time, or rests.
_WRITER = """python(
    "import os, time; open('{folder}/pid-%d' % os.getpid(), 'w').close()\\n"
    "while True:\\n  print('x' * 2000, flush=True) if {writes} else None; time.sleep(0.01)",
    output="both"),
"""


@pytest.mark.parametrize("writes", [True, False], ids=["children write", "children are silent"])
def test_a_closed_terminal_ends_the_launch_and_what_it_started(tmp_path, writes):
    process, master = _in_a_terminal(tmp_path, _WRITER.format(folder=tmp_path, writes=writes) * 2)
    pids = _pids_in(tmp_path, 2)
    os.close(master)
    assert process.wait(_TIMEOUT_S) == 0
    assert not any(map(runs, pids))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_launch_ends_by_any_signal_although_its_terminal_is_gone(tmp_path, number):
    """A terminal whose end sent no signal, because it was not the launch's own."""
    file = tmp_path / "test.launch.py"
    file.write_text(_HEADER.replace("{entities}", _WRITER.format(folder=tmp_path, writes=True)))
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rclpy_dds.cli.main", "launch", str(file)],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        env={**os.environ, "ROS_LOG_DIR": str(tmp_path / "logs")},
    )
    os.close(terminal)
    pids = _pids_in(tmp_path, 1)
    os.close(master)
    assert runs(pids[0])
    process.send_signal(number)
    assert process.wait(_TIMEOUT_S) == 0
    assert not any(map(runs, pids))


def _close_streams() -> None:
    for number in (0, 1, 2):
        os.close(number)


@pytest.mark.parametrize("output", ["closed", "/dev/full"])
def test_a_launch_that_can_print_nowhere_runs_and_ends_as_any_other(tmp_path, output):
    file = tmp_path / "test.launch.py"
    file.write_text(_HEADER.replace("{entities}", _WRITER.format(folder=tmp_path, writes=True)))
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "rclpy_dds.cli.main", "launch", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=full,
            start_new_session=True,
            preexec_fn=_close_streams if output == "closed" else None,
            env={**os.environ, "ROS_LOG_DIR": str(tmp_path / "logs")},
        )
    pids = _pids_in(tmp_path, 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(_TIMEOUT_S) == 0
    assert not any(map(runs, pids))


def test_a_home_that_cannot_be_written_is_told_in_one_sentence(tmp_path):
    file = tmp_path / "test.launch.py"
    file.write_text(_HEADER.replace("{entities}", ""))
    done = subprocess.run(
        [sys.executable, "-m", "rclpy_dds.cli.main", "launch", str(file)],
        env={name: value for name, value in os.environ.items() if not name.startswith("ROS_")} | {"HOME": "/proc/none"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "cannot make the folder for logs" in done.stderr and "set ROS_LOG_DIR" in done.stderr


def test_a_terminal_that_takes_nothing_holds_up_neither_children_nor_the_end(tmp_path):
    process, master = _in_a_terminal(tmp_path, _WRITER.format(folder=tmp_path, writes=True))
    try:
        pids = _pids_in(tmp_path, 1)
        # Nobody reads: the terminal's buffer and the child's pipe (some ten lines, some thirty) are soon full.
        log = tmp_path / "logs"
        deadline = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < deadline:
            if sum(path.stat().st_size for path in log.rglob("launch.log")) > 500_000:
                break
            time.sleep(0.02)
        else:
            raise AssertionError("the child was held up by the terminal")
        process.send_signal(signal.SIGTERM)
        assert process.wait(_TIMEOUT_S) == 0
        assert not any(map(runs, pids))
    finally:
        os.close(master)
        process.kill()
        process.wait()


def test_a_second_ctrl_c_hurries(launch):
    launched = launch(
        "ExecuteProcess(cmd=[sys.executable, 'child.py', 'ignoring'], output='screen', sigterm_timeout='1000')"
    )
    pids = launched.wait_for(r"pid (\d+)")
    launched.signal()
    while "ending the rest quickly" not in launched.output:
        launched.signal()
        time.sleep(0.2)
    assert launched.end() == 0
    assert not any(map(runs, pids))


def test_one_ctrl_c_that_arrives_twice_counts_once(launch):
    code = "import time\\ntry:\\n  print(1 + 1); time.sleep(100)\\nfinally:\\n  time.sleep(0.6); print('tidy')"
    launched = launch(f'python("{code}")')
    launched.wait_for("\\[child-1\\] 2")
    launched.signal()
    launched.signal()
    assert launched.end() == 0
    assert "tidy" in launched.output
    assert "quickly" not in launched.output


def test_children_do_not_outlive_a_killed_launch(launch):
    launched = launch("ExecuteProcess(cmd=[sys.executable, 'child.py'], output='screen')")
    (pid,) = launched.wait_for(r"pid (\d+)")
    launched.process.kill()
    launched.process.wait()
    deadline = time.monotonic() + _TIMEOUT_S
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not runs(pid)


def test_respawn(launch):
    launched = launch(
        "python('print(\"alive\"); raise SystemExit(3)', respawn=True, respawn_delay=0.05, respawn_max_retries=2)"
    )
    assert launched.end() == 0
    assert len(re.findall(r"\[child-1\] alive", launched.output)) == 3
    assert len(re.findall("process has died .*exit code 3", launched.output)) == 3


def test_respawn_ends_with_the_launch(launch):
    launched = launch("python('print(\"alive\")', respawn=True, respawn_delay=1000.0)")
    launched.wait_for("finished cleanly")
    launched.signal()
    assert launched.end() == 0
    assert len(re.findall(r"\[child-1\] alive", launched.output)) == 1


def test_event_handlers_and_timers(launch):
    launched = launch(
        """
        *(lambda first, second: [
            first,
            RegisterEventHandler(OnProcessStart(target_action=first, on_start=[LogInfo(msg="first started")])),
            RegisterEventHandler(OnProcessIO(target_action=first, on_stdout=lambda event: LogInfo(
                msg="heard " + event.text.decode().strip()))),
            RegisterEventHandler(OnProcessExit(target_action=first, on_exit=lambda event, context: [
                LogInfo(msg=f"first ended with {event.returncode}"), second])),
            RegisterEventHandler(OnProcessExit(target_action=second, on_exit=[
                TimerAction(period=0.05, actions=[EmitEvent(event=ShutdownEvent(reason="done"))])])),
            RegisterEventHandler(OnExecutionComplete(target_action=second, on_completion=LogInfo(msg="second done"))),
            RegisterEventHandler(OnShutdown(on_shutdown=lambda event, context: LogInfo(msg=f"over: {event.reason}"))),
            TimerAction(period=1000.0, actions=[LogInfo(msg="never")]),
        ])(python("print('first'); raise SystemExit(4)"), python("print('second')")),
        ExecuteProcess(cmd=[sys.executable, "child.py"], output="screen"),
        """
    )
    assert launched.end() == 0
    output = launched.output
    for text in ("first started", "heard first", "first ended with 4", "second", "second done", "over: done"):
        assert text in output
    assert "never" not in output


def test_on_exit_shutdown_ends_the_others(launch):
    launched = launch(
        """
        ExecuteProcess(cmd=[sys.executable, "child.py"], output="screen"),
        TimerAction(period=0.2, actions=[python("print('required')", on_exit=Shutdown(reason="it is over"))]),
        """
    )
    assert launched.end() == 0
    assert "process[child-2] was required: shutting down launched system" in launched.output


def test_signal_events(launch):
    launched = launch(
        """
        ExecuteProcess(cmd=[sys.executable, "child.py"], name="a", output="screen"),
        RegisterEventHandler(OnProcessIO(on_stdout=lambda event: None if b"pid" not in event.text else EmitEvent(
            event=process_events.SignalProcess(
                signal_number="SIGINT", process_matcher=process_events.matches_name("a-1"))))),
        """
    )
    assert launched.end() == 0
    assert "[a-1] interrupted" in launched.output


def test_a_command_that_does_not_exist_is_reported_and_the_rest_goes_on(launch):
    launched = launch("ExecuteProcess(cmd=['no-such-program-here']), python('print(\"the rest\")'),")
    assert launched.end() == 0
    assert "could not be started" in launched.output
    assert "the rest" in launched.output


def test_output_places(launch):
    launched = launch(
        "python('import sys; print(\"out\"); print(\"err\", file=sys.stderr)', output={'stdout': 'screen', "
        "'stderr': 'own_log', 'both': ['own_log']})"
    )
    assert launched.end() == 0
    assert "[child-1] out" in launched.output
    assert "err" not in launched.output
    (folder,) = launched.log_root.iterdir()
    assert "err" in (folder / "child-1-stderr.log").read_text()
    assert sorted(line.split()[1] for line in (folder / "child-1.log").read_text().splitlines()) == ["err", "out"]


def test_long_and_unfinished_lines_survive(launch):
    launched = launch('python(\'print("é" * 200000); print("no end", end="")\')')
    assert launched.end() == 0
    assert "[child-1] " + "é" * 200000 + "\n" in launched.output
    assert "[child-1] no end\n" in launched.output


def test_severities_are_coloured_on_a_terminal_only(launch):
    entities = "python('print(\"[WARN] [1.0] [n]: careful\")')"
    plain = launch(entities)
    assert plain.end() == 0
    assert "\033" not in plain.output
    coloured = launch(entities, environment={"RCUTILS_COLORIZED_OUTPUT": "1"})
    assert coloured.end() == 0
    assert "\033[35m[child-1]\033[0m\033[33m [WARN] [1.0] [n]: careful\033[0m" in coloured.output
    assert "\033" not in "".join(path.read_text() for path in coloured.log_root.glob("*/launch.log"))


def test_parameter_files_exist_while_running_and_are_removed(launch):
    launched = launch(
        """
        Node(executable=sys.executable, exec_name="node", name="n", output="screen", parameters=[{"a": [1, 2]}],
             arguments=["-c", "import sys; path = sys.argv[-1]; print('path', path); print(open(path).read())"]),
        """
    )
    assert launched.end() == 0
    assert "[node-1]   ros__parameters:" in launched.output
    (path,) = re.findall(r"path (\S+)", launched.output)
    assert not os.path.exists(path)


def test_a_launch_folder_in_the_working_directory_does_not_hide_the_package(tmp_path):
    # A repository with a folder `launch` is usual; as a namespace package it must not win over the real thing.
    (tmp_path / "launch").mkdir()
    result = subprocess.run(
        [sys.executable, "-c", "from launch import LaunchDescription; import launch.actions"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
