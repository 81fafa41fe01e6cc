"""Everything that the nodes and launch files of the workspace beside this package use of ROS 2 is covered.

The files are read, not run: imported names, attributes of modules and classes, keyword arguments, and methods, of
which the list of a real ROS 2 says which ones are the library's.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import rclpy_dds

sys.path.append(str(Path(__file__).parent))

from names_table import BEGIN, END, PAGE, own_members, real_names
from names_table import missing as missing_names

REPOSITORY = Path(__file__).resolve().parents[3]
WORKSPACE = REPOSITORY / "ros2_ws/src"
SOURCES = sorted([*WORKSPACE.rglob("*.py"), *(REPOSITORY / "launch").rglob("*.py")])
LIBRARIES = (
    "rclpy",
    "launch",
    "launch_ros",
    "ament_index_python",
    "message_filters",
    "tf2_ros",
    "tf2_py",
    "tf2_geometry_msgs",
)
INTERFACES = ("msg", "srv", "action")


class Use(NamedTuple):
    """One use of a name, and where."""

    what: str
    line: int


def is_library(module: str) -> bool:
    root, _, rest = module.partition(".")
    return root in LIBRARIES or rest in INTERFACES


class Reader(ast.NodeVisitor):
    """Collects what a file uses of the libraries."""

    def __init__(self) -> None:
        self.failures: list[Use] = []
        self.names: dict[str, Any] = {}  # local name -> module, class or function
        self.methods: list[Use] = []  # attributes of objects that are not known
        self.keywords: list[Use] = []  # "function(keyword=)"
        self.uses_library = False

    def fail(self, what: str, node: ast.AST) -> None:
        use = Use(what, getattr(node, "lineno", 0))
        if use not in self.failures:
            self.failures.append(use)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if is_library(alias.name):
                self.uses_library = True
                module = self._module(alias.name, node)
                if module is not None:
                    root = alias.name.partition(".")[0]
                    self.names[alias.asname or root] = module if alias.asname else import_module(root)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or not is_library(node.module or ""):
            return
        self.uses_library = True
        module = self._module(node.module or "", node)
        for alias in node.names:
            if module is None:
                continue
            try:
                self.names[alias.asname or alias.name] = getattr(module, alias.name)
            except AttributeError:
                self.names[alias.asname or alias.name] = self._module(f"{node.module}.{alias.name}", node)
            except NotImplementedError:
                self.fail(f"{node.module}.{alias.name}", node)

    def _module(self, name: str, node: ast.AST) -> ModuleType | None:
        try:
            return import_module(name)
        except (ImportError, NotImplementedError):
            self.fail(name, node)
            return None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self._resolve(node) is None:
            self.methods.append(Use(node.attr, node.lineno))
        self.generic_visit(node)

    def _resolve(self, node: ast.expr) -> Any:
        """The module, class or function that an expression names; None when it is anything else."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        owner = self._resolve(node.value)
        if owner is None:
            return None
        try:
            return getattr(owner, node.attr)
        except (AttributeError, NotImplementedError):
            if isinstance(owner, (ModuleType, type)):
                self.fail(f"{owner.__name__}.{node.attr}", node)
            return None

    def visit_Call(self, node: ast.Call) -> None:
        function = self._resolve(node.func)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        accepted = keywords_of(function) if inspect.isclass(function) or inspect.isfunction(function) else None
        for keyword in node.keywords:
            if keyword.arg is None:
                continue
            self.keywords.append(Use(f"{name}({keyword.arg}=)", node.lineno))
            if accepted is not None and keyword.arg not in accepted:
                self.fail(f"{name}({keyword.arg}=)", node)
        self.generic_visit(node)


def keywords_of(function: Any) -> set[str] | None:
    """Keyword arguments of a function, or of a class and those it hands the rest to; None when any is taken."""
    functions = [function]
    if inspect.isclass(function):
        functions = [vars(cls)["__init__"] for cls in function.__mro__[:-1] if "__init__" in vars(cls)]
    accepted: set[str] = set()
    for each in functions:
        try:
            parameters = inspect.signature(each).parameters.values()
        except ValueError:
            return None
        accepted.update(parameter.name for parameter in parameters)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return accepted
    return None


@functools.cache
def read(path: Path) -> Reader:
    reader = Reader()
    reader.visit(ast.parse(path.read_text(encoding="utf-8")))
    return reader


@pytest.fixture(scope="module", autouse=True)
def own_definitions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The message definitions of this repository can be found, whether its packages are installed or not."""
    prefix = tmp_path_factory.mktemp("prefix")
    (prefix / "share").mkdir()
    for folder in WORKSPACE.iterdir() if WORKSPACE.is_dir() else ():
        if any((folder / kind).is_dir() for kind in INTERFACES):
            (prefix / "share" / folder.name).symlink_to(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMENT_PREFIX_PATH", str(prefix), prepend=os.pathsep)
        yield


def users() -> Iterator[tuple[Path, Reader]]:
    for path in SOURCES:
        if read(path).uses_library:
            yield path, read(path)


def places(uses: list[tuple[Path, Use]]) -> str:
    return "\n".join(f"{path.relative_to(REPOSITORY)}:{use.line}: {use.what}" for path, use in uses)


def test_imports_attributes_and_keywords() -> None:
    found = [(path, use) for path, reader in users() for use in reader.failures]
    assert not found, "not covered by rclpy_dds:\n" + places(found)


def test_a_name_that_is_not_covered_is_found() -> None:
    reader = Reader()
    lines = (
        "import rclpy",
        "from rclpy.node import Node, Nonsense",
        "from launch_ros.actions import ComposableNodeContainer",
        "from launch_ros import actions",
        "rclpy.no_such_function()",
        "actions.Node(executable='x', no_such_keyword=1)",
        "Node.no_such_method",
    )
    reader.visit(ast.parse("\n".join(lines)))
    assert [use.what for use in reader.failures] == [
        "rclpy.node.Nonsense",
        "launch_ros.actions.ComposableNodeContainer",
        "rclpy.no_such_function",
        "Node(no_such_keyword=)",
        "Node.no_such_method",
    ]


def test_methods() -> None:
    """A method of a class of the real rclpy that a node calls is one of the same class here."""
    missing: dict[str, list[str]] = {}
    for module, names in real_names().items():
        if not module.startswith("rclpy."):
            continue
        for name, members in names.items():
            try:
                cls = getattr(import_module(module), name)
            except (ImportError, AttributeError, NotImplementedError):
                continue
            if members and inspect.isclass(cls):
                for member in set(members) - own_members(cls):
                    missing.setdefault(member, []).append(f"{module}.{name}")
    # Names that an object of ours, a message or a standard library's object has too cannot be told apart.
    common = {"name", "value", "execute", "destroy", "handle", "Parameter"}
    found = [
        (path, Use(f"{use.what} ({', '.join(missing[use.what])})", use.line))
        for path, reader in users()
        for use in reader.methods
        if use.what in missing and use.what not in common
    ]
    assert not found, "methods that rclpy has and rclpy_dds has not:\n" + places(found)


def refusals() -> tuple[set[str], set[str]]:
    """Functions here that only raise NotImplementedError, and "function(keyword=)" of what makes them do so."""
    functions: set[str] = set()
    keywords: set[str] = set()
    for path in Path(rclpy_dds.__file__).parent.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef) or function.name == "__init__":
                continue
            body = function.body[1:] if ast.get_docstring(function) else function.body
            if len(body) == 1 and refuses(body[0]):
                functions.add(function.name)
            parameters = {each.arg for each in [*function.args.args, *function.args.kwonlyargs]}
            for node in ast.walk(function):
                if isinstance(node, ast.If) and len(node.body) == 1 and refuses(node.body[0]):
                    mentioned = {each.id for each in ast.walk(node.test) if isinstance(each, ast.Name)}
                    keywords |= {f"{function.name}({name}=)" for name in mentioned & parameters}
    return functions, keywords


def refuses(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and getattr(node.exc.func, "id", "") == "NotImplementedError"
        and "abstract" not in ast.unparse(node.exc)
        and "does not implement" not in ast.unparse(node.exc)
    )


def test_nothing_that_is_refused() -> None:
    functions, keywords = refusals()
    assert "configure_introspection" in functions
    found = [
        (path, use)
        for path, reader in users()
        for use in [*reader.methods, *reader.keywords]
        if use.what in functions or use.what in keywords
    ]
    assert not found, "raise NotImplementedError:\n" + places(found)


@pytest.mark.parametrize("module", ["rclpy.no_such_module", "launch.no_such_module", "launch_ros.no_such_module"])
def test_missing_modules_name_themselves(module: str) -> None:
    with pytest.raises(ImportError, match=module.replace(".", r"\.")):
        import_module(module)


def test_every_missing_name_raises_an_error_that_names_it() -> None:
    for entry in missing_names():
        for name in entry.names:
            try:
                module = import_module(entry.module)
            except ImportError as error:
                assert entry.module.startswith(error.name or "?")
                continue
            with pytest.raises((AttributeError, NotImplementedError), match=name):
                getattr(module, name)
        for member in entry.members:
            cls, _, attribute = member.partition(".")
            with pytest.raises((AttributeError, NotImplementedError), match=attribute):
                getattr(getattr(import_module(entry.module), cls), attribute)


def test_the_page_lists_what_is_missing() -> None:
    _, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    listed = rest.partition(END)[0]
    missing = [
        name for entry in missing_names() for name in [*entry.names, *entry.members] if f"`{name}`" not in listed
    ]
    assert begin and not missing, f"run python ros2_ws/rclpy_dds/tests/names_table.py --write; not listed: {missing}"
