"""The action that runs a ROS node."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ... import parameter_yaml
from ...launch.actions import ExecuteProcess
from ...launch.some_substitutions_type import SomeSubstitutionsType
from ...launch.utilities import describe_substitutions, resolve
from ..namespaces import absolute, check_namespace, check_node_name, prefix_namespace
from ..parameter_descriptions import (
    Parameter,
    ParameterFile,
    evaluate_parameter_dict,
    write_parameter_file,
)
from ..substitutions import ExecutableInPackage

if TYPE_CHECKING:
    from ...launch.launch_context import LaunchContext


class Node(ExecuteProcess):
    """Runs an executable of a package (or, without `package`, a path) as a ROS node.

    parameters: list of YAML paths, ParameterFile, Parameter, or dictionaries of values; the last definition counts.
    remappings: pairs (from, to). arguments: for the program itself; ros_arguments: after --ros-args.
    namespace: relative ones are put below that of PushRosNamespace. Further arguments as for ExecuteProcess.
    """

    def __init__(
        self,
        *,
        executable: SomeSubstitutionsType,
        package: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        namespace: SomeSubstitutionsType | None = None,
        exec_name: SomeSubstitutionsType | None = None,
        parameters: Iterable[Any] | None = None,
        remappings: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] | None = None,
        ros_arguments: Iterable[SomeSubstitutionsType] | None = None,
        arguments: Iterable[SomeSubstitutionsType] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(parameters, (str, Mapping)):
            raise TypeError(f"Node: parameters must be a list of paths or dictionaries, got {parameters!r}")
        if isinstance(arguments, str):
            raise TypeError(f"Node: arguments must be a list of str or substitutions, got the str {arguments!r}")
        for unwanted in ("cmd", "node_name", "node_namespace", "node_executable"):
            if unwanted in kwargs:
                raise TypeError(f"Node: unknown argument {unwanted!r}; use executable, name, namespace and arguments")
        self._executable = executable
        self._package = package
        first = executable if package is None else ExecutableInPackage(executable, package)
        super().__init__(cmd=[first], name=exec_name, **kwargs)
        self._node_name = name
        self._namespace = namespace
        self._parameters = list(parameters or [])
        self._remappings = [(source, target) for source, target in remappings or []]
        self._ros_arguments = list(ros_arguments or [])
        self._arguments = list(arguments or [])
        self._full_name: str | None = None

    UNSPECIFIED_NODE_NAME = "<node_name_unspecified>"
    UNSPECIFIED_NODE_NAMESPACE = "<node_namespace_unspecified>"

    @property
    def node_package(self) -> SomeSubstitutionsType | None:
        """The package as given."""
        return self._package

    @property
    def node_executable(self) -> SomeSubstitutionsType:
        """The executable as given."""
        return self._executable

    @property
    def expanded_node_namespace(self) -> str:
        """Namespace of the node; only once it is executed."""
        return self.node_name.rpartition("/")[0] or "/"

    def is_node_name_fully_specified(self) -> bool:
        """Return whether both name and namespace were given; only once it is executed."""
        return not any(part in self.node_name for part in (self.UNSPECIFIED_NODE_NAME, self.UNSPECIFIED_NODE_NAMESPACE))

    @property
    def node_name(self) -> str:
        """Full name of the node; only once it is executed. Parts that were not given are '<…_unspecified>'."""
        if self._full_name is None:
            raise RuntimeError("cannot access 'node_name' before executing action")
        return self._full_name

    def describe(self) -> str:
        package = "" if self._package is None else f"package={describe_substitutions(self._package)}, "
        name = "" if self._node_name is None else f", name={describe_substitutions(self._node_name)}"
        namespace = "" if self._namespace is None else f", namespace={describe_substitutions(self._namespace)}"
        return f"Node({package}executable={describe_substitutions(self._executable)}{name}{namespace})"

    def command(self, context: LaunchContext) -> list[str]:
        if self._package is not None:
            program = ExecutableInPackage(self._executable, self._package).command(context)
        else:
            program = [resolve(context, self._executable)]
        name = None if self._node_name is None else resolve(context, self._node_name)
        namespace = absolute(
            prefix_namespace(
                context.launch_configurations.get("ros_namespace"),
                None if self._namespace is None else resolve(context, self._namespace) or None,
            )
        )
        if name is not None:
            check_node_name(name)
        if namespace is not None:
            check_namespace(namespace)
        self._full_name = (
            f"{(namespace or self.UNSPECIFIED_NODE_NAMESPACE).rstrip('/')}/{name or self.UNSPECIFIED_NODE_NAME}"
        )
        fully_named = name is not None and namespace is not None

        ros = [resolve(context, argument) for argument in self._ros_arguments]
        if name is not None:
            ros += ["-r", f"__node:={name}"]
        if namespace is not None:
            ros += ["-r", f"__ns:={namespace}"]
        ros += self._parameter_arguments(context, self._full_name if fully_named else "/**")
        rules = list(context.launch_configurations.get("ros_remaps", []))
        rules += [(resolve(context, source), resolve(context, target)) for source, target in self._remappings]
        for source, target in rules:
            ros += ["-r", f"{source}:={target}"]
        arguments = [resolve(context, argument) for argument in self._arguments]
        return self.with_prefix(context, [*program, *arguments, "--ros-args", *ros])

    def default_label(self, context: LaunchContext) -> str:
        return os.path.basename(resolve(context, self._executable))

    def _parameter_arguments(self, context: LaunchContext, node_pattern: str) -> list[str]:
        result: list[str] = []
        parameters = [*context.launch_configurations.get("global_params", []), *self._parameters]
        for parameter in parameters:
            if isinstance(parameter, Parameter):
                name, value = parameter.evaluate(context)
                result += ["-p", f"{name}:={parameter_yaml.one_line(value)}"]
                continue
            if isinstance(parameter, Mapping):
                values = evaluate_parameter_dict(context, parameter)
                text = parameter_yaml.dump({node_pattern: {"ros__parameters": values}})
                path = write_parameter_file(context, text)
            elif isinstance(parameter, ParameterFile):
                path = parameter.evaluate(context)
            else:
                path = ParameterFile(parameter).evaluate(context)
            result += ["--params-file", os.fspath(path)]
        return result
