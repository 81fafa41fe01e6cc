"""Actions that concern all nodes after them in the same group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...launch import logging as launch_logging
from ...launch.action import Action
from ...launch.some_substitutions_type import SomeSubstitutionsType
from ...launch.utilities import (
    describe_substitutions,
    normalize_to_list_of_substitutions,
    perform_substitutions,
    typed_value,
)
from ..namespaces import absolute, check_namespace, prefix_namespace
from ..parameter_descriptions import Parameter, ParameterFile
from ..ros_adapters import get_ros_node

if TYPE_CHECKING:
    from ...launch.launch_context import LaunchContext


class PushRosNamespace(Action):
    """Puts the nodes that follow in the group below a namespace."""

    def __init__(self, namespace: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._namespace = normalize_to_list_of_substitutions(namespace)

    @property
    def namespace(self) -> list[Any]:
        """The namespace, as substitutions."""
        return self._namespace

    def describe(self) -> str:
        return f"PushRosNamespace({describe_substitutions(self._namespace)})"

    def execute(self, context: LaunchContext) -> None:
        pushed = perform_substitutions(context, self._namespace)
        if not pushed:
            return
        namespace = absolute(prefix_namespace(context.launch_configurations.get("ros_namespace"), pushed))
        if namespace is not None:
            check_namespace(namespace)
            context.launch_configurations["ros_namespace"] = namespace


class SetParameter(Action):
    """Sets a parameter of all nodes that follow in the group."""

    def __init__(self, name: SomeSubstitutionsType, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name = normalize_to_list_of_substitutions(name)
        self._parameter = Parameter(name, value, value_type=str if isinstance(value, str) else None)

    def describe(self) -> str:
        return f"SetParameter({describe_substitutions(self._name)})"

    def execute(self, context: LaunchContext) -> None:
        name, value = self._parameter.evaluate(context)
        earlier = context.launch_configurations.get("global_params", [])
        value_type = str if isinstance(value, str) else None
        context.launch_configurations["global_params"] = [*earlier, Parameter(name, value, value_type=value_type)]


class SetUseSimTime(Action):
    """Lets launch itself follow simulated time (see ROSTimer). For nodes use SetParameter("use_sim_time", True)."""

    def __init__(self, value: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._value = value

    @property
    def value(self) -> bool:
        """Whether time is simulated."""
        return self._value

    def execute(self, context: LaunchContext) -> None:
        from ...rclpy.parameter import Parameter as NodeParameter

        value = typed_value(context, self._value, bool)
        result = get_ros_node(context).set_parameters([NodeParameter("use_sim_time", value=value)])[0]
        if not result.successful:
            raise RuntimeError(f"Failed to set use_sim_time parameter: {result.reason}")


class SetROSLogDir(Action):
    """Sets ROS_LOG_DIR for what follows in the group; a relative path is below the present log directory."""

    def __init__(self, new_log_dir: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._log_dir = normalize_to_list_of_substitutions(new_log_dir)

    @property
    def log_dir(self) -> list[Any]:
        """The directory, as substitutions."""
        return self._log_dir

    def execute(self, context: LaunchContext) -> None:
        new = perform_substitutions(context, self._log_dir)
        context.environment["ROS_LOG_DIR"] = str(launch_logging.log_root().absolute() / new)


class SetParametersFromFile(Action):
    """Gives a parameter file to all nodes that follow in the group."""

    def __init__(self, filename: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._file = ParameterFile(filename)

    def execute(self, context: LaunchContext) -> None:
        earlier = context.launch_configurations.get("global_params", [])
        context.launch_configurations["global_params"] = [*earlier, ParameterFile(self._file.evaluate(context))]


class SetRemap(Action):
    """Remaps a name of all nodes that follow in the group."""

    def __init__(self, src: SomeSubstitutionsType, dst: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._src = normalize_to_list_of_substitutions(src)
        self._dst = normalize_to_list_of_substitutions(dst)

    @property
    def src(self) -> list[Any]:
        """The name that is remapped, as substitutions."""
        return self._src

    @property
    def dst(self) -> list[Any]:
        """The name that it becomes, as substitutions."""
        return self._dst

    def describe(self) -> str:
        return f"SetRemap({describe_substitutions(self._src)}, {describe_substitutions(self._dst)})"

    def execute(self, context: LaunchContext) -> None:
        rule = (perform_substitutions(context, self._src), perform_substitutions(context, self._dst))
        context.launch_configurations["ros_remaps"] = [*context.launch_configurations.get("ros_remaps", []), rule]


# ROS 2 has both spellings.
PushROSNamespace = PushRosNamespace
