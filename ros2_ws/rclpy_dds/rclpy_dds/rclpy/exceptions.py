"""Exceptions of the API."""

from typing import Any

from .type_support import NoTypeSupportImportedException as NoTypeSupportImportedException


class NotInitializedException(Exception):
    """``rclpy.init`` has not been called, or the context is shut down."""

    def __init__(self, *args: Any) -> None:
        super().__init__("rclpy.init() has not been called", *args)


class NameValidationException(Exception):
    """A name is not valid: base class."""

    def __init__(self, name_type: str, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        message = f"Invalid {name_type}: {error_msg}:\n  '{name}'\n   {' ' * invalid_index}^"
        self.name_type = name_type
        self.name = name
        self.error_msg = error_msg
        self.invalid_index = invalid_index
        super().__init__(message, *args)


class InvalidNamespaceException(NameValidationException):
    """A namespace is not valid."""

    def __init__(self, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__("namespace", name, error_msg, invalid_index, *args)


class InvalidNodeNameException(NameValidationException):
    """A node name is not valid."""

    def __init__(self, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__("node name", name, error_msg, invalid_index, *args)


class InvalidTopicNameException(NameValidationException):
    """A topic name is not valid."""

    def __init__(self, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__("topic name", name, error_msg, invalid_index, *args)


class InvalidServiceNameException(NameValidationException):
    """A service name is not valid."""

    def __init__(self, name: str, error_msg: str, invalid_index: int, *args: Any) -> None:
        super().__init__("service name", name, error_msg, invalid_index, *args)


class ParameterException(Exception):
    """Base class of parameter errors; ``args[1]`` holds the parameter names."""

    def __init__(self, error_msg: str, parameters: Any, *args: Any) -> None:
        super().__init__(error_msg, parameters, *args)


class ParameterNotDeclaredException(ParameterException):
    """A parameter has not been declared."""

    def __init__(self, parameters: Any, *args: Any) -> None:
        super().__init__("Invalid access to undeclared parameter(s)", parameters, *args)


class ParameterAlreadyDeclaredException(ParameterException):
    """A parameter was declared before."""

    def __init__(self, parameters: Any, *args: Any) -> None:
        super().__init__("Parameter(s) already declared", parameters, *args)


class InvalidParameterException(ParameterException):
    """A parameter name is not valid."""

    def __init__(self, parameter: Any, *args: Any) -> None:
        super().__init__("Invalid parameter name", parameter, *args)


class InvalidParameterTypeException(ParameterException):
    """A value has another type than the parameter."""

    def __init__(self, desired_parameter: Any, expected_type: Any, *args: Any) -> None:
        super().__init__(
            f"Trying to set parameter '{desired_parameter.name}' to '{desired_parameter.value}' of type "
            f"'{desired_parameter.type_.name}', expecting type '{expected_type}'",
            desired_parameter.name,
            *args,
        )


class InvalidParameterValueException(ParameterException):
    """A value was rejected."""

    def __init__(self, parameter: Any, value: Any, reason: str, *args: Any) -> None:
        super().__init__(
            f"Invalid parameter value ({value}) for parameter. Reason: {reason or 'not given'}", parameter, value, *args
        )


class ParameterImmutableException(ParameterException):
    """A read-only parameter cannot be changed or undeclared."""

    def __init__(self, parameter: Any, *args: Any) -> None:
        super().__init__("Attempted to modify read-only parameter", parameter, *args)


class ParameterUninitializedException(ParameterException):
    """A parameter that was declared by type only has no value yet."""

    def __init__(self, parameter: Any, *args: Any) -> None:
        super().__init__("The parameter is not initialized", parameter, *args)


class ROSInterruptException(Exception):
    """A blocking call was interrupted by shutdown."""

    def __init__(self, *args: Any) -> None:
        super().__init__("rclpy.shutdown() has been called", *args)


class RCLError(RuntimeError):
    """An operation failed in the client library."""


class NodeNameNonExistentError(RCLError):
    """No node by this name is known."""


class InvalidHandle(RCLError):
    """An entity is used after it was destroyed."""


class UnknownROSArgsError(RuntimeError):
    """``--ros-args`` holds something that is not understood."""
