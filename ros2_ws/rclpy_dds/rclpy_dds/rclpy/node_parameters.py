"""The parameters of a node."""

import math
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy_dds.interfaces import message_class

from .exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from .parameter import PARAMETER_SEPARATOR_STRING, Parameter, parameter_value_to_python
from .validate_names import validate_parameter_name

if TYPE_CHECKING:
    from .clock import Clock

SetParametersCallback = Callable[[list[Parameter]], Any]


def _result(successful: bool = True, reason: str = "") -> Any:
    return message_class("rcl_interfaces/msg/SetParametersResult")(successful=successful, reason=reason)


def _descriptor(**values: Any) -> Any:
    return message_class("rcl_interfaces/msg/ParameterDescriptor")(**values)


class NodeParameters:
    """Part of :class:`Node`: declares, gets and sets parameters."""

    PARAM_REL_TOL = 1e-6

    _clock: "Clock"
    _parameter_event_publisher: Any

    if TYPE_CHECKING:  # what Node itself provides

        def get_fully_qualified_name(self) -> str: ...

    def _dds_init_parameters(self, overrides: dict[str, Parameter], allow_undeclared: bool) -> None:
        self._parameters: dict[str, Parameter] = {}
        self._descriptors: dict[str, Any] = {}
        self._parameter_overrides = overrides
        self._allow_undeclared_parameters = allow_undeclared
        self.__parameter_lock = threading.RLock()
        self._pre_set_parameters_callbacks: list[Callable[[list[Parameter]], list[Parameter]]] = []
        self._on_set_parameters_callbacks: list[SetParametersCallback] = []
        self._post_set_parameters_callbacks: list[Callable[[list[Parameter]], None]] = []
        self._parameter_event_publisher = None

    # --- declaring ---

    def declare_parameter(
        self, name: str, value: Any = None, descriptor: Any = None, ignore_override: bool = False
    ) -> Parameter:
        """Declare a parameter and return it.

        Args:
            name: name.
            value: default value, which fixes the type, or a ``Parameter.Type``.
            descriptor: ``rcl_interfaces.msg.ParameterDescriptor``: description, ranges, read_only, dynamic_typing.
            ignore_override: do not take the value from the command line or parameter files.

        Raises:
            ParameterAlreadyDeclaredException, InvalidParameterException, InvalidParameterTypeException,
            InvalidParameterValueException, ValueError, TypeError
        """
        if value is None and descriptor is None:
            arguments: tuple = (name,)
        elif descriptor is None:
            arguments = (name, value)
        else:
            arguments = (name, value, descriptor)
        return self.declare_parameters("", [arguments], ignore_override)[0]

    def declare_parameters(
        self, namespace: str, parameters: list[tuple], ignore_override: bool = False
    ) -> list[Parameter]:
        """Declare several parameters given as tuples of name, value and descriptor; see :meth:`declare_parameter`."""
        declared: list[tuple[Parameter, Any]] = []
        for index, entry in enumerate(parameters):
            if not 1 <= len(entry) <= 3:
                raise TypeError(
                    f"Invalid parameter tuple length at index {index} in parameters list: {entry}; "
                    "expecting length between 1 and 3"
                )
            declared.append(self.__parse_declaration(namespace, index, entry, ignore_override))
        known = [parameter.name for parameter, _ in declared if parameter.name in self._parameters]
        if known:
            raise ParameterAlreadyDeclaredException(known)
        for parameter, descriptor in declared:
            result = self.__set_checked([parameter], {parameter.name: descriptor}, allow_not_set=True)
            if not result.successful:
                if result.reason.startswith("Wrong parameter type"):
                    raise InvalidParameterTypeException(parameter, Parameter.Type(descriptor.type).name)
                raise InvalidParameterValueException(parameter.name, parameter.value, result.reason)
        return [self._parameters[parameter.name] for parameter, _ in declared]

    def __parse_declaration(
        self, namespace: str, index: int, entry: tuple, ignore_override: bool
    ) -> tuple[Parameter, Any]:
        name = entry[0]
        if not isinstance(name, str):
            raise TypeError(f"First element {name} at index {index} in parameters list is not a str.")
        if namespace:
            name = f"{namespace}.{name}"
        validate_parameter_name(name)
        second = entry[1] if len(entry) > 1 else None
        descriptor = entry[2] if len(entry) > 2 else _descriptor()
        if not isinstance(descriptor, message_class("rcl_interfaces/msg/ParameterDescriptor")):
            raise TypeError(
                f"Third element {descriptor} at index {index} in parameters list is not a ParameterDescriptor."
            )
        if len(entry) == 1:
            warnings.warn(
                f"when declaring parameter named '{name}', declaring a parameter only providing its name is "
                "deprecated: pass a default value, a Parameter.Type, or a descriptor with dynamic_typing=True",
                stacklevel=4,
            )
            descriptor.dynamic_typing = True
        value = None
        if isinstance(second, Parameter.Type):
            if second is Parameter.Type.NOT_SET:
                raise ValueError(f"Cannot declare parameter {{{name}}} as statically typed of type NOT_SET")
            if descriptor.dynamic_typing:
                raise ValueError(
                    f"When declaring parameter {{{name}}} passing a descriptor with `dynamic_typing=True` is not "
                    "allowed when the parameter type is provided"
                )
            descriptor.type = second.value
        else:
            value = second
            if isinstance(value, message_class("rcl_interfaces/msg/ParameterValue")):
                value = parameter_value_to_python(value)
            if not descriptor.dynamic_typing:
                descriptor.type = Parameter.Type.from_parameter_value(value).value
                if descriptor.type == Parameter.Type.NOT_SET.value:
                    raise ValueError(
                        "Cannot declare a statically typed parameter with default value of type PARAMETER_NOT_SET"
                    )
        if not ignore_override and name in self._parameter_overrides:
            value = self._parameter_overrides[name].value
        if (
            value is not None
            and len(value if isinstance(value, list | tuple) else "x") == 0
            and not (descriptor.dynamic_typing)
        ):
            # An empty list has no element to tell its type: take the declared one.
            return Parameter(name, Parameter.Type(descriptor.type), value), descriptor
        return Parameter(name, value=value), descriptor

    def undeclare_parameter(self, name: str) -> None:
        """Remove a parameter.

        Raises:
            ParameterNotDeclaredException, ParameterImmutableException
        """
        with self.__parameter_lock:
            if not self.has_parameter(name):
                raise ParameterNotDeclaredException(name)
            if self._descriptors[name].read_only:
                raise ParameterImmutableException(name)
            del self._parameters[name]
            del self._descriptors[name]

    # --- getting ---

    def has_parameter(self, name: str) -> bool:
        """Return whether a parameter is declared."""
        return name in self._parameters

    def get_parameter(self, name: str) -> Parameter:
        """Return a parameter.

        Raises:
            ParameterNotDeclaredException: not declared (and undeclared ones are not allowed).
            ParameterUninitializedException: declared by type, without a value.
        """
        parameter = self._parameters.get(name)
        if parameter is not None:
            if parameter.type_ is Parameter.Type.NOT_SET and not self._descriptors[name].dynamic_typing:
                raise ParameterUninitializedException(name)
            return parameter
        if self._allow_undeclared_parameters:
            return Parameter(name, Parameter.Type.NOT_SET, None)
        raise ParameterNotDeclaredException(name)

    def get_parameters(self, names: list[str]) -> list[Parameter]:
        """Return several parameters; see :meth:`get_parameter`."""
        if not all(isinstance(name, str) for name in names):
            raise TypeError("All names must be instances of type str")
        return [self.get_parameter(name) for name in names]

    def get_parameter_or(self, name: str, alternative_value: Parameter | None = None) -> Parameter:
        """Return a parameter, or ``alternative_value`` when it is not declared or has no value."""
        if alternative_value is None:
            alternative_value = Parameter(name, Parameter.Type.NOT_SET)
        parameter = self._parameters.get(name, alternative_value)
        return parameter if parameter.type_ is not Parameter.Type.NOT_SET else alternative_value

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Parameter]:
        """Return the parameters whose names begin with ``prefix.``, by the rest of their names."""
        start = prefix + PARAMETER_SEPARATOR_STRING if prefix else ""
        return {name[len(start) :]: value for name, value in self._parameters.items() if name.startswith(start)}

    def get_parameter_type(self, name: str) -> Parameter.Type:
        """Return the type of a parameter.

        Raises:
            ParameterNotDeclaredException: not declared (and undeclared ones are not allowed).
        """
        if self.has_parameter(name):
            return self._parameters[name].type_
        if self._allow_undeclared_parameters:
            return Parameter.Type.NOT_SET
        raise ParameterNotDeclaredException(name)

    def get_parameter_types(self, names: list[str]) -> list[Parameter.Type]:
        """Return the types of several parameters."""
        if not all(isinstance(name, str) for name in names):
            raise TypeError("All names must be instances of type str")
        return [self.get_parameter_type(name) for name in names]

    def list_parameters(self, prefixes: list[str], depth: int) -> Any:
        """Return a ``rcl_interfaces.msg.ListParametersResult`` of the names under the prefixes.

        Raises:
            TypeError, ValueError: arguments of wrong type, negative depth.
        """
        if not isinstance(prefixes, list):
            raise TypeError("The prefixes argument must be a list")
        if not all(isinstance(prefix, str) for prefix in prefixes):
            raise TypeError("All prefixes must be instances of type str")
        if not isinstance(depth, int):
            raise TypeError("The depth must be instance of type int")
        if depth < 0:
            raise ValueError("The depth must be greater than or equal to zero")

        def shallow(name: str) -> bool:
            return depth == 0 or name.count(PARAMETER_SEPARATOR_STRING) < depth

        result = message_class("rcl_interfaces/msg/ListParametersResult")()
        for name in self._parameters:
            if prefixes:
                wanted = any(
                    name == prefix or (name.startswith(f"{prefix}.") and shallow(name[len(prefix) + 1 :]))
                    for prefix in prefixes
                )
            else:
                wanted = shallow(name)
            if wanted:
                result.names.append(name)
                prefix = name.rpartition(PARAMETER_SEPARATOR_STRING)[0]
                if prefix and prefix not in result.prefixes:
                    result.prefixes.append(prefix)
        return result

    # --- setting ---

    def set_parameters(self, parameter_list: list[Parameter]) -> list[Any]:
        """Set parameters one by one; return a ``SetParametersResult`` for each.

        Raises:
            ParameterNotDeclaredException: not declared (and undeclared ones are not allowed).
        """
        return [self.__set_with_callbacks([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> Any:
        """Set all parameters or none; return one ``SetParametersResult``.

        Raises:
            ParameterNotDeclaredException: not declared (and undeclared ones are not allowed).
        """
        return self.__set_with_callbacks(parameter_list)

    def __set_with_callbacks(self, parameters: list[Parameter]) -> Any:
        if self._pre_set_parameters_callbacks:
            for callback in self._pre_set_parameters_callbacks:
                parameters = callback(parameters)
            if not parameters:
                return _result(
                    False,
                    "parameter list cannot be empty, this might be due to pre_set_parameters_callback modifying the "
                    "original parameters list.",
                )
        self._check_undeclared_parameters(parameters)
        return self.__set_checked(parameters)

    def _check_undeclared_parameters(self, parameters: list[Parameter]) -> None:
        if not all(isinstance(parameter, Parameter) for parameter in parameters):
            raise TypeError(f"parameter must be instance of type '{Parameter!r}'")
        undeclared = [parameter.name for parameter in parameters if not self.has_parameter(parameter.name)]
        if undeclared and not self._allow_undeclared_parameters:
            raise ParameterNotDeclaredException(undeclared)

    def __set_checked(
        self, parameters: list[Parameter], descriptors: dict[str, Any] | None = None, allow_not_set: bool = False
    ) -> Any:
        """Check descriptors and callbacks, then store, publish the event and call the post-set callbacks."""
        with self.__parameter_lock:
            for parameter in parameters:
                descriptor = (self._descriptors if descriptors is None else descriptors).get(parameter.name)
                if descriptor is not None:
                    result = self._apply_descriptor(parameter, descriptor, check_read_only=descriptors is None)
                    if not result.successful:
                        return result
            for callback in list(self._on_set_parameters_callbacks):
                result = callback(parameters)
                if not isinstance(result, message_class("rcl_interfaces/msg/SetParametersResult")):
                    raise TypeError(f"A set-parameters callback must return a SetParametersResult, not {result!r}")
                if not result.successful:
                    return result
            event = message_class("rcl_interfaces/msg/ParameterEvent")(node=self.get_fully_qualified_name())
            for parameter in parameters:
                self.__store(parameter, descriptors, allow_not_set, event)
            event.stamp = self._clock.now().to_msg()
        if self._parameter_event_publisher is not None:
            self._parameter_event_publisher.publish(event)
        for post_callback in list(self._post_set_parameters_callbacks):
            post_callback(parameters)
        return _result()

    def __store(
        self, parameter: Parameter, descriptors: dict[str, Any] | None, allow_not_set: bool, event: Any
    ) -> None:
        name = parameter.name
        if parameter.type_ is Parameter.Type.NOT_SET and not allow_not_set:
            event.deleted_parameters.append(parameter.to_parameter_msg())
            self._parameters.pop(name, None)
            self._descriptors.pop(name, None)
            return
        if descriptors is not None:
            self._descriptors[name] = descriptors[name]
        elif name not in self._descriptors:
            self._descriptors[name] = _descriptor(name=name, type=parameter.type_.value, dynamic_typing=True)
        if self.get_parameter_or(name).type_ is Parameter.Type.NOT_SET:
            event.new_parameters.append(parameter.to_parameter_msg())
        else:
            event.changed_parameters.append(parameter.to_parameter_msg())
        self._parameters[name] = parameter

    def _apply_descriptor(self, parameter: Parameter, descriptor: Any, check_read_only: bool = True) -> Any:
        descriptor.name = parameter.name
        if check_read_only and descriptor.read_only:
            return _result(False, f"Trying to set a read-only parameter: {parameter.name}.")
        kind = parameter.type_
        if descriptor.dynamic_typing:
            descriptor.type = kind.value
        elif kind is Parameter.Type.NOT_SET and self.has_parameter(parameter.name):
            return _result(False, "Static parameter cannot be undeclared")
        elif kind is not Parameter.Type.NOT_SET and kind.value != descriptor.type:
            return _result(
                False, f"Wrong parameter type, expected '{Parameter.Type(descriptor.type)}' got '{parameter.type_}'"
            )
        if kind is Parameter.Type.INTEGER and descriptor.integer_range:
            return self.__check_range(parameter, descriptor.integer_range[0], exact=True)
        if kind is Parameter.Type.DOUBLE and descriptor.floating_point_range:
            return self.__check_range(parameter, descriptor.floating_point_range[0], exact=False)
        return _result()

    def __check_range(self, parameter: Parameter, limits: Any, exact: bool) -> Any:
        low, high = sorted((limits.from_value, limits.to_value))
        value = parameter.value

        def equal(one: float, other: float) -> bool:
            return one == other if exact else math.isclose(one, other, rel_tol=self.PARAM_REL_TOL)

        # Values at the edges are always good, whatever the step.
        if equal(value, low) or equal(value, high):
            return _result()
        if not low < value < high:
            return _result(False, f"Parameter {parameter.name} out of range. Min: {low}, Max: {high}, value: {value}")
        if limits.step:
            steps = (value - low) // limits.step if exact else round((value - low) / limits.step)
            if not equal(low + steps * limits.step, value):
                return _result(
                    False,
                    f"The parameter value for {parameter.name} is not a valid step. Min: {low}, max: {high}, "
                    f"value: {value}, step: {limits.step}",
                )
        return _result()

    # --- descriptors ---

    def describe_parameter(self, name: str) -> Any:
        """Return the ``ParameterDescriptor`` of a parameter.

        Raises:
            ParameterNotDeclaredException: not declared (and undeclared ones are not allowed).
        """
        descriptor = self._descriptors.get(name)
        if descriptor is not None:
            return descriptor
        if self._allow_undeclared_parameters:
            return _descriptor()
        raise ParameterNotDeclaredException(name)

    def describe_parameters(self, names: list[str]) -> list[Any]:
        """Return the descriptors of several parameters."""
        return [self.describe_parameter(name) for name in names]

    def set_descriptor(self, name: str, descriptor: Any, alternative_value: Any = None) -> Any:
        """Give a parameter a new descriptor; return its ``ParameterValue``.

        Args:
            name: parameter.
            descriptor: new descriptor.
            alternative_value: ``ParameterValue`` to set when the present value does not fit the new descriptor.

        Raises:
            ParameterNotDeclaredException, ParameterImmutableException, InvalidParameterValueException
        """
        if not self.has_parameter(name):
            if not self._allow_undeclared_parameters:
                raise ParameterNotDeclaredException(name)
            return self.get_parameter(name).get_parameter_value()
        if self.describe_parameter(name).read_only:
            raise ParameterImmutableException(name)
        with self.__parameter_lock:
            parameter = self.get_parameter(name)
            result = self._apply_descriptor(parameter, descriptor, check_read_only=False)
            if not result.successful and alternative_value is not None:
                parameter = Parameter(
                    name, Parameter.Type(alternative_value.type), parameter_value_to_python(alternative_value)
                )
                result = self._apply_descriptor(parameter, descriptor, check_read_only=False)
            if not result.successful:
                raise InvalidParameterValueException(name, parameter.value, result.reason)
            self._parameters[name] = parameter
            self._descriptors[name] = descriptor
        return parameter.get_parameter_value()

    # --- callbacks ---

    def add_pre_set_parameters_callback(self, callback: Callable[[list[Parameter]], list[Parameter]]) -> None:
        """Call a function that may change the list of parameters about to be set."""
        self._pre_set_parameters_callbacks.insert(0, callback)

    def add_on_set_parameters_callback(self, callback: SetParametersCallback) -> None:
        """Call a function that may reject parameters; it returns a ``SetParametersResult``. Latest added goes first."""
        self._on_set_parameters_callbacks.insert(0, callback)

    def add_post_set_parameters_callback(self, callback: Callable[[list[Parameter]], None]) -> None:
        """Call a function after parameters have been set."""
        self._post_set_parameters_callbacks.insert(0, callback)

    def remove_pre_set_parameters_callback(self, callback: Callable) -> None:
        """Stop calling a function."""
        self._pre_set_parameters_callbacks.remove(callback)

    def remove_on_set_parameters_callback(self, callback: SetParametersCallback) -> None:
        """Stop calling a function."""
        self._on_set_parameters_callbacks.remove(callback)

    def remove_post_set_parameters_callback(self, callback: Callable) -> None:
        """Stop calling a function."""
        self._post_set_parameters_callbacks.remove(callback)
