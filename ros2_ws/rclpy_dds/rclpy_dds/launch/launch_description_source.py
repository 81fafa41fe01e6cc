"""Base class of the places launch descriptions come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .launch_description import LaunchDescription
from .some_substitutions_type import SomeSubstitutionsType
from .utilities import describe_substitutions, normalize_to_list_of_substitutions, perform_substitutions

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class LaunchDescriptionSource:
    """A launch description, or the file it is loaded from when it is needed."""

    def __init__(
        self,
        launch_description: LaunchDescription | None = None,
        location: SomeSubstitutionsType = "",
        method: str = "unspecified mechanism from a script",
    ) -> None:
        self._launch_description = launch_description
        self._location = normalize_to_list_of_substitutions(location)
        # A description given as an object is not loaded from its location.
        self._expanded_location = "" if launch_description is not None and not location else None
        self._method = method

    @property
    def location(self) -> str:
        """Path of the file; before launching, its description when it holds substitutions."""
        return self._expanded_location or describe_substitutions(self._location)

    @property
    def method(self) -> str:
        """How the description is loaded."""
        return self._method

    def get_launch_description(self, context: LaunchContext) -> LaunchDescription:
        """Load the description if need be and return it."""
        location = perform_substitutions(context, self._location)
        if self._launch_description is None or location != self._expanded_location:
            self._launch_description = self._get_launch_description(location)
            self._expanded_location = location
        return self._launch_description

    def try_get_launch_description_without_context(self) -> LaunchDescription | None:
        """Return the description if it can be had without launching, else None."""
        from .launch_context import LaunchContext
        from .substitutions import SubstitutionFailure

        try:
            return self.get_launch_description(LaunchContext())
        except (SubstitutionFailure, LookupError):
            return None

    def _get_launch_description(self, location: str) -> LaunchDescription:
        raise NotImplementedError(f"{type(self).__name__} does not say how to load {location!r}")
