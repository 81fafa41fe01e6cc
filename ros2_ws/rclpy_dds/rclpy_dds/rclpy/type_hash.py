"""Type hashes."""

from .topic_endpoint_info import TypeHash

__all__ = ["TypeHash"]
