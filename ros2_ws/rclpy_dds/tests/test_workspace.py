"""Installing the packages of a workspace."""

import json
import os
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest

from rclpy_dds import workspace
from rclpy_dds.ament_index_python import get_package_share_directory, get_resource
from rclpy_dds.cli import rclpy_dds_command
from rclpy_dds.workspace.executables import ExecutableNotFoundError, find_executable, find_executables
from rclpy_dds.workspace.install import install_workspace
from rclpy_dds.workspace.package_xml import WorkspaceError, find_packages


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def package_xml(folder: Path, name: str, build_type: str) -> None:
    write(
        folder / "package.xml",
        f"""\
        <?xml version="1.0"?>
        <package format="3"><name>{name}</name><version>0.1.0</version>
          <export><build_type>{build_type}</build_type></export>
        </package>
        """,
    )


def interface_package(src: Path, name: str = "some_interfaces") -> Path:
    folder = src / "group" / name
    package_xml(folder, name, "ament_cmake")
    write(folder / "msg/Thing.msg", "int32 number  # how many\n")
    write(folder / "srv/Do.srv", "string what\n---\nbool done\n")
    write(folder / "CMakeLists.txt")
    return folder


def python_package(src: Path, name: str = "some_nodes", extra: str = "") -> Path:
    folder = src / name
    package_xml(folder, name, "ament_python")
    write(folder / name / "__init__.py", "def main():\n    import sys\n    print('running', *sys.argv[1:])\n")
    write(folder / "resource" / name)
    write(folder / "files/start.launch.py", "text")
    scripts = f"$base/lib/{name}"
    write(folder / "setup.cfg", f"[develop]\nscript_dir={scripts}\n[install]\ninstall_scripts={scripts}\n")
    write(
        folder / "setup.py",
        f"""\
        from glob import glob
        from setuptools import setup
        setup(
            name={name!r}, version="0.1.0", packages=[{name!r}],
            data_files=[
                ("share/ament_index/resource_index/packages", ["resource/{name}"]),
                ("share/{name}", ["package.xml"]),
                ("share/{name}/launch", sorted(glob("files/*.launch.py"))),
                {extra}
            ],
            entry_points={{"console_scripts": ["go_{name} = {name}:main"]}},
        )
        """,
    )
    return folder


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    folder = tmp_path / "prefix"
    folder.mkdir()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(folder))
    return folder


def test_interface_packages_are_linked_and_found(tmp_path, prefix):
    folder = interface_package(tmp_path / "src")
    (result,) = install_workspace([tmp_path / "src"], prefix)
    assert (result.package.name, result.kind, result.changed) == ("some_interfaces", "interfaces", True)
    assert get_package_share_directory("some_interfaces") == str(prefix / "share/some_interfaces")
    linked = prefix / "share/some_interfaces/msg/Thing.msg"
    assert linked.is_symlink() and linked.resolve() == folder / "msg/Thing.msg"
    assert get_resource("rosidl_interfaces", "some_interfaces")[0] == "msg/Thing.msg\nsrv/Do.srv\n"
    code = "from some_interfaces.msg import Thing; from some_interfaces.srv import Do; print(Thing(number=3), Do)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "Thing(number=3)" in output.stdout


def test_a_second_run_changes_nothing_and_removed_files_go(tmp_path, prefix):
    folder = interface_package(tmp_path / "src")
    install_workspace([tmp_path / "src"], prefix)
    (again,) = install_workspace([tmp_path / "src"], prefix)
    assert not again.changed
    (folder / "srv/Do.srv").unlink()
    write(folder / "msg/Other.msg", "bool flag\n")
    (changed,) = install_workspace([tmp_path / "src"], prefix)
    assert changed.changed
    assert not os.path.lexists(prefix / "share/some_interfaces/srv/Do.srv")
    assert (prefix / "share/some_interfaces/msg/Other.msg").is_file()


def test_copies_instead_of_links(tmp_path, prefix):
    interface_package(tmp_path / "src")
    install_workspace([tmp_path / "src"], prefix, copy=True)
    copied = prefix / "share/some_interfaces/msg/Thing.msg"
    assert copied.is_file() and not copied.is_symlink()
    assert not install_workspace([tmp_path / "src"], prefix, copy=True)[0].changed
    assert install_workspace([tmp_path / "src"], prefix)[0].changed
    assert copied.is_symlink()


def test_ignored_and_build_folders_are_skipped(tmp_path):
    interface_package(tmp_path / "src")
    interface_package(tmp_path / "src/build")
    write(tmp_path / "src/ignored/COLCON_IGNORE")
    interface_package(tmp_path / "src/ignored")
    assert [package.name for package in find_packages([tmp_path / "src"])] == ["some_interfaces"]


def _twice(src):
    interface_package(src / "a")
    interface_package(src / "b")


def _cmake(src):
    package_xml(src / "driver", "driver", "ament_cmake")


def _no_setup_py(src):
    package_xml(src / "nodes", "nodes", "ament_python")


def _broken_xml(src):
    write(src / "nodes/package.xml", "<package><name>")


def _other_name(src):
    folder = python_package(src)
    package_xml(folder, "renamed", "ament_python")


def _failing_setup_py(src):
    write(python_package(src) / "setup.py", "raise ValueError('no luck')")


def _missing_data_file(src):
    python_package(src, extra="('share/some_nodes', ['missing.yaml']),")


def _outside(src):
    python_package(src, extra="('/etc', ['package.xml']),")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda src: src.mkdir(), "no package.xml"),
        (_twice, "found twice"),
        (_cmake, "'driver'.*ament_cmake.*COLCON_IGNORE"),
        (_no_setup_py, "has no setup.py"),
        (_broken_xml, "cannot be read"),
        (_other_name, "'some_nodes'.*'renamed'"),
        (_failing_setup_py, "no luck"),
        (_missing_data_file, "'missing.yaml', which is no file"),
        (_outside, "'/etc' must be a relative path"),
    ],
)
def test_what_cannot_be_installed_is_named_before_anything_is_changed(tmp_path, prefix, make, message, capsys):
    src = tmp_path / "src"
    make(src)
    with pytest.raises(WorkspaceError, match=message):
        install_workspace([src], prefix)
    assert not list(prefix.iterdir())
    assert rclpy_dds_command.main(["install", str(src), "--prefix", str(prefix)]) == 1
    assert "rclpy-dds: " in capsys.readouterr().err


def test_executables_in_the_lib_folder(prefix):
    write(prefix / "share/ament_index/resource_index/packages/tools")
    script = write(prefix / "lib/tools/measure", "#!/bin/sh\n")
    write(prefix / "lib/tools/notes.txt")
    script.chmod(0o755)
    assert list(find_executables("tools")) == ["measure"]
    assert find_executable("tools", "measure").command == (str(script),)
    with pytest.raises(ExecutableNotFoundError, match=r"'mesure'.*has: measure; did you mean 'measure'\?"):
        find_executable("tools", "mesure")


def test_a_whole_workspace_in_an_environment_of_its_own(tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = str(environment / "bin/python")
    site_packages = next(environment.glob("lib/python*/site-packages"))
    # pip, setuptools and rclpy_dds' dependencies come from the environment that runs the tests.
    ours = [entry for entry in sys.path if entry.endswith("site-packages")]
    write(
        site_packages / "tests.pth",
        "\n".join(
            [
                *ours,
                str(Path(workspace.__file__).parents[2]),
                "import rclpy_dds._finder",
            ]
        ),
    )
    interface_package(tmp_path / "src")
    nodes = python_package(tmp_path / "src")

    def run(*words: str) -> str:
        result = subprocess.run(
            [python, "-m", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "AMENT_PREFIX_PATH"},
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    first = run("rclpy_dds.cli.rclpy_dds_command", "install", "src")
    assert first.count("installed") == 2
    # The package's own folder stays as it was.
    assert sorted(path.name for path in nodes.iterdir() if path.name != "__pycache__") == [
        "files",
        "package.xml",
        "resource",
        "setup.cfg",
        "setup.py",
        "some_nodes",
    ]
    assert (environment / "share/some_nodes/launch/start.launch.py").resolve() == nodes / "files/start.launch.py"
    assert run("rclpy_dds.cli.main", "pkg", "executables", "some_nodes") == "some_nodes go_some_nodes\n"
    assert run("rclpy_dds.cli.main", "run", "some_nodes", "go_some_nodes", "--fast") == "running --fast\n"
    assert run("rclpy_dds.cli.main", "pkg", "prefix", "some_nodes") == f"{environment}\n"
    assert "some_interfaces\n" in run("rclpy_dds.cli.main", "pkg", "list")
    write(nodes / "files/other.launch.py", "text")
    second = run("rclpy_dds.cli.rclpy_dds_command", "install", "src")
    assert second.count("up to date") == 1  # the interfaces; the nodes got one more link
    record = json.loads((environment / "share/rclpy_dds/installed/some_nodes.json").read_text())
    assert "share/some_nodes/launch/other.launch.py" in record["files"]
    # Another package's script of the same name must not be run in its place.
    write(environment / "bin/go_some_nodes", "#!/bin/sh\necho wrong\n").chmod(0o755)
    assert run("rclpy_dds.cli.main", "run", "some_nodes", "go_some_nodes") == "running\n"
