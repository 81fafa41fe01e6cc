"""`./run`: from any folder, with any path, and complete in itself whatever is sourced."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ASKED = ["libgl1", "libgomp1", "mesa-vulkan-drivers"]


@pytest.fixture
def ros2(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell in which a ROS 2 and an overlay are sourced, with modules that fit nobody."""
    prefix, overlay = tmp_path / "opt" / "ros" / "jazzy", tmp_path / "ws" / "install"
    modules = prefix / "lib" / "python3.12" / "site-packages"
    own = overlay / "magma_control" / "lib" / "python3.12" / "site-packages"
    for folder, names in ((modules, ("rclpy", "std_msgs", "launch")), (own, ("magma_control", "magma_interfaces"))):
        for name in names:
            (folder / name).mkdir(parents=True)
            (folder / name / "__init__.py").write_text("import lark")
    (prefix / "lib" / "librcl.so").touch()
    return {
        "ROS_DISTRO": "jazzy",
        "ROS_VERSION": "2",
        "ROS_PYTHON_VERSION": "3",
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        "AMENT_PREFIX_PATH": f"{overlay}/magma_control:{prefix}",
        "COLCON_PREFIX_PATH": str(overlay),
        "CMAKE_PREFIX_PATH": str(prefix),
        "PYTHONPATH": f"{own}:{modules}",
        "LD_LIBRARY_PATH": f"{prefix}/lib:/usr/local/cuda/lib64",
    }


OF_ROS2 = ("PYTHONPATH", "AMENT_PREFIX_PATH", "COLCON_PREFIX_PATH", "CMAKE_PREFIX_PATH", "ROS_DISTRO", "ROS_VERSION")


# The caller's folder


@pytest.mark.parametrize("command", [("demo",), ("exec", "python", "-m", "magma_bringup.demo")])
def test_relative_paths_are_those_of_the_callers_folder(checkout, tmp_path, command):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    told = checkout.told(checkout.call(*command, "--policy", "my dir", "--out", "runs/x", cwd=elsewhere))
    assert told["cwd"] == str(elsewhere)
    assert told["words"] == ["-m", "magma_bringup.demo", "--policy", "my dir", "--out", "runs/x"]


def test_a_relative_environment_is_that_of_the_callers_folder(checkout):
    told = checkout.told(checkout.call("demo", cwd=checkout.root / "setup", MAGMA_VENV="../.venv"))
    assert told["environment"]["VIRTUAL_ENV"] == str(checkout.venv)


def test_it_may_be_called_through_a_link(checkout, tmp_path):
    link = tmp_path / "bin" / "magma"
    link.symlink_to(checkout.root / "run")
    result = checkout.call("exec", str(link), "demo")
    assert checkout.told(result)["words"] == ["-m", "magma_bringup.demo"]


def test_the_console_starts_the_robot_with_its_page(checkout):
    checkout.program(checkout.venv / "bin", "ros2", 'echo ros2 "$@"')
    result = checkout.call("--console", "policy:=expert")
    started = (result.stdout.splitlines() or [result.stderr])[-1]
    assert started.startswith("ros2 launch magma_bringup robot.launch.py console:=true")
    assert started.endswith("policy:=expert"), "what a person says comes last, and counts"


def test_the_tests_run_in_the_checkout(checkout, tmp_path):
    for tool in ("ruff", "mypy", "lint-imports"):
        checkout.program(checkout.venv / "bin", tool, f"echo {tool} in $PWD")
    result = checkout.call("test", "-k", "camera", cwd=tmp_path)
    told = checkout.told(result)
    assert told["cwd"] == str(checkout.root) and told["words"] == ["-m", "tests.run", "-k", "camera"]
    assert f"ruff in {checkout.root}" in result.stdout and f"mypy in {checkout.root}" in result.stdout
    assert f"lint-imports in {checkout.root}" in result.stdout


# A ROS 2 that is sourced


@pytest.mark.parametrize("command", [("demo",), ("exec", "python")])
def test_a_sourced_ros_2_is_left_aside_and_that_is_said(checkout, ros2, command):
    result = checkout.call(*command, ROS_DOMAIN_ID="7", **ros2)
    environment = checkout.told(result)["environment"]
    assert not {*OF_ROS2, "RMW_IMPLEMENTATION"} & set(environment)
    assert environment["LD_LIBRARY_PATH"] == "/usr/local/cuda/lib64"
    assert environment["ROS_DOMAIN_ID"] == "7"
    assert "rclpy_dds" in result.stderr and "jazzy" in result.stderr and "left aside" in result.stderr


@pytest.mark.parametrize("kept", [("PYTHONPATH",), ("AMENT_PREFIX_PATH",), ("COLCON_PREFIX_PATH", "PYTHONPATH")])
def test_a_part_of_it_is_enough(checkout, ros2, kept):
    told = checkout.told(checkout.call("demo", **{name: ros2[name] for name in kept}))
    assert not set(OF_ROS2) & set(told["environment"])


def test_programs_of_a_sourced_ros_2_are_not_found(checkout, ros2):
    prefix = Path(ros2["CMAKE_PREFIX_PATH"])
    checkout.program(prefix / "bin", "colcon_like", "")
    path = f"{prefix}/bin:{checkout.bin}:/usr/bin:/bin"
    assert checkout.call("exec", "colcon_like", PATH=path, **ros2).returncode == 127
    assert checkout.call("exec", "colcon_like", PATH=path).returncode == 0  # nothing is sourced: the person's own


def test_what_a_person_sets_without_a_ros_2_stays(checkout, tmp_path):
    (tmp_path / "messages" / "share" / "my_msgs" / "msg").mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_policy.py").touch()
    own = {
        "AMENT_PREFIX_PATH": str(tmp_path / "messages"),
        "PYTHONPATH": str(tmp_path / "mine"),
        "ROS_DISTRO": "humble",  # alone it chooses the messages' distribution
        "LD_LIBRARY_PATH": "/opt/lib",
    }
    for chosen in ({"AMENT_PREFIX_PATH", "PYTHONPATH", "LD_LIBRARY_PATH"}, {"ROS_DISTRO"}):
        given = {name: own[name] for name in chosen}
        result = checkout.call("exec", "python", **given)
        assert given.items() <= checkout.told(result)["environment"].items()
        assert "left aside" not in result.stderr


def test_the_shell_is_ours_after_a_bashrc_that_sources_ros_2(checkout, ros2):
    lines = [f"export {name}='{value}'" for name, value in ros2.items()]
    lines += ["export MINE=kept", "case x in x) return ;; esac", "export MINE=too late"]
    (checkout.home / ".bashrc").write_text("\n".join(lines) + "\n")
    result = checkout.call("shell", given="python here\nexit\n")
    told = checkout.told(result)
    assert told["words"] == ["here"] and told["environment"]["MINE"] == "kept"
    assert not {*OF_ROS2, "RMW_IMPLEMENTATION"} & set(told["environment"])
    assert told["environment"]["VIRTUAL_ENV"] == str(checkout.venv)
    assert "rclpy_dds" in result.stdout and "left aside" in result.stdout


@pytest.mark.parametrize(
    "bashrc",
    [
        "echo Welcome to $(hostname)\nfortune",
        "set -eu",
        "PATH=/usr/bin:/bin; unset OMP_NUM_THREADS; trap 'echo bye' EXIT",
        "alias source=false cd=false; PROMPT_COMMAND='PS1=mine'",
    ],
)
def test_the_shell_is_ours_after_any_bashrc(checkout, bashrc):
    (checkout.home / ".bashrc").write_text(bashrc + "\n")
    result = checkout.call("shell", given="python here\nexit\n")
    told = checkout.told(result)
    assert told["environment"]["VIRTUAL_ENV"] == str(checkout.venv) and "nodes run on rclpy_dds" in result.stdout
    assert "ends the shell" not in result.stderr
    assert ("bye" in result.stdout) is ("bye" in bashrc), "the person's own trap stays"


def test_a_bashrc_that_goes_over_into_another_shell_takes_the_environment_along(checkout):
    checkout.program(checkout.bin, "fish", "exec python in fish")
    (checkout.home / ".bashrc").write_text("exec fish\n")
    told = checkout.told(checkout.call("shell"))
    assert told["words"] == ["in", "fish"] and told["environment"]["VIRTUAL_ENV"] == str(checkout.venv)


def test_a_bashrc_that_ends_the_shell_is_named(checkout):
    (checkout.home / ".bashrc").write_text("exit 3\n")
    result = checkout.call("shell", given="python here\nexit\n")
    assert result.returncode == 3 and "~/.bashrc ends the shell; use ./run exec" in result.stderr


def test_a_start_up_file_for_scripts_may_source_ros_2(checkout, ros2, tmp_path):
    start = tmp_path / "start"
    start.write_text("".join(f"export {name}='{value}'\n" for name, value in ros2.items()))
    told = checkout.told(checkout.call("demo", BASH_ENV=str(start)))
    assert not {*OF_ROS2, "RMW_IMPLEMENTATION"} & set(told["environment"])


def test_a_sourced_ros_1_is_left_aside_too(checkout, tmp_path):
    packages = tmp_path / "opt" / "ros" / "noetic" / "lib" / "python3" / "dist-packages"
    (packages / "sensor_msgs").mkdir(parents=True)
    ros1 = {"ROS_VERSION": "1", "ROS_DISTRO": "noetic", "PYTHONPATH": str(packages), "ROS_PACKAGE_PATH": "/opt/ros"}
    result = checkout.call("exec", "python", **ros1)
    assert not set(ros1) & set(checkout.told(result)["environment"])
    assert "ROS 1 noetic, sourced here, is left aside" in result.stderr


def test_what_a_person_says_about_the_network_stays(checkout, ros2):
    network = {"ROS_LOCALHOST_ONLY": "1", "ROS_STATIC_PEERS": "10.0.0.7", "CYCLONEDDS_URI": "file:///mine.xml"}
    assert network.items() <= checkout.told(checkout.call("demo", **ros2, **network))["environment"].items()


# What a machine lacks


@pytest.fixture
def poor_machine(bare_checkout, tmp_path):
    """A machine that lacks packages; whoever calls apt-get or sudo, or installs something, is written down."""
    note = tmp_path / "called"
    real = (bare_checkout.bin / "python3").read_text().splitlines()[-1]
    lacking = "printf '%s\\n' libgl1 libgomp1 mesa-vulkan-drivers/bookworm-backports"
    bare_checkout.program(
        bare_checkout.bin, "python3", f'case "$1" in *system_packages.py) {lacking} ;; *) {real} ;; esac'
    )
    bare_checkout.program(bare_checkout.bin, "apt-get", f'[ "$1" = indextargets ] || echo "apt-get $*" >> {note}')
    bare_checkout.program(bare_checkout.bin, "apt-cache", "")
    bare_checkout.program(bare_checkout.bin, "id", "echo 1000")
    return bare_checkout, note


@pytest.mark.parametrize("environment", [{}, {"MAGMA_NO_APT": "1"}])
def test_without_the_right_to_install_it_asks_for_all_packages_before_anything_else(poor_machine, environment):
    checkout, note = poor_machine
    checkout.program(checkout.bin, "sudo", f'echo "sudo $*" >> {note}.sudo; exit 1')
    result = checkout.call("setup", **environment)
    assert result.returncode == 1
    line = next(line for line in result.stdout.splitlines() if "Please" in line)
    assert all(name in line for name in ASKED)
    assert not checkout.venv.exists() and not note.exists()


def test_with_sudo_they_are_installed_at_once_and_what_is_added_to_apt_is_told(poor_machine):
    checkout, note = poor_machine
    checkout.program(
        checkout.bin, "sudo", f'[ "$1" = -n ] || echo "sudo $*" >> {note}; [ "$1" != tee ] || cat >> {note}'
    )
    # It ends there: no environment can be made.
    real = (checkout.bin / "python3").read_text().replace("*)", '-m) echo "no venv"; exit 3 ;; *)', 1)
    (checkout.bin / "python3").write_text(real)
    result = checkout.call("setup")
    calls = note.read_text()
    source = "/etc/apt/sources.list.d/magma-bookworm-backports.list"
    assert f"sudo tee {source}\ndeb http" in calls
    assert "install -y -q --no-install-recommends libgl1 libgomp1\n" in calls
    assert "-t bookworm-backports mesa-vulkan-drivers\n" in calls
    assert f"rm {source}" in result.stdout and result.returncode == 1


def test_a_path_that_no_environment_bears_is_refused(bare_checkout, tmp_path):
    for name in ("a:b", 'a "b" c'):
        result = bare_checkout.call("setup", MAGMA_VENV=str(tmp_path / name))
        assert result.returncode == 1 and name in result.stderr and "rename" in result.stderr
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("reachable", [True, False])
def test_pytorch_alone_comes_from_the_index_of_cpu_builds(bare_checkout, tmp_path, reachable):
    script = f"""
        say() {{ echo "$*"; }}
        ROOT='{tmp_path}' VENV='{tmp_path}'
        . "$1/setup/setup.sh"
        command() {{ [ "$2" != nvidia-smi ] && builtin command "$@"; }}
        pip_install() {{ echo "pip $*" >> "$VENV/calls"; [[ $* != *--index-url* ]] || {str(reachable).lower()}; }}
        step PyTorch install_torch
    """
    result = subprocess.run(
        ["bash", "-euc", script, "bash", bare_checkout.root], capture_output=True, text=True, check=True
    )
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "--no-deps" in calls[0] and "--index-url https://download.pytorch.org/whl/cpu torch==" in calls[0]
    if reachable:
        assert len(calls) == 1 and "CUDA" not in result.stdout
    else:
        assert len(calls) == 2 and "pytorch.org" not in calls[1] and "--no-deps" not in calls[1]
        assert "the CUDA build, several GB, is taken instead" in result.stdout
