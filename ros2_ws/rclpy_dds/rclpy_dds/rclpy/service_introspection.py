"""States of service introspection; switching it on is not covered (``configure_introspection`` says so)."""

from enum import IntEnum


class ServiceIntrospectionState(IntEnum):
    """What a service or client publishes of its calls."""

    OFF = 0
    METADATA = 1
    CONTENTS = 2
