"""The `$(name argument…)` form of substitutions, as used in parameter files with allow_substs."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from ..launch.substitution import Substitution
from ..launch.substitutions import (
    Command,
    EnvironmentVariable,
    FindExecutable,
    LaunchConfiguration,
    PythonExpression,
    SubstitutionFailure,
    ThisLaunchFileDir,
)
from .substitutions import FindPackagePrefix, FindPackageShare

if TYPE_CHECKING:
    from ..launch.launch_context import LaunchContext

# Innermost first, so that nested forms are replaced from the inside.
_FORM = re.compile(r"\$\(([^()$]*)\)")


def substitute_text(text: str, context: LaunchContext) -> str:
    """Return `text` with every `$(…)` replaced. Raises SubstitutionFailure for one that is unknown or fails."""
    while True:
        replaced = _FORM.sub(lambda form: _substitution(form.group(1)).perform(context), text, count=1)
        if replaced == text:
            return text
        text = replaced


def _substitution(form: str) -> Substitution:
    name, _, rest = form.strip().partition(" ")
    rest = rest.strip()
    if name == "eval":
        return PythonExpression(rest[1:-1] if rest[:1] in "'\"" and rest[-1:] == rest[:1] else rest)
    if name == "command":
        return Command(rest[1:-1] if rest[:1] in "'\"" and rest[-1:] == rest[:1] else rest)
    arguments = shlex.split(rest)
    if name == "dirname" and not arguments:
        return ThisLaunchFileDir()
    if name == "var" and len(arguments) in (1, 2):
        return LaunchConfiguration(arguments[0], default=arguments[1] if len(arguments) == 2 else None)
    if name == "env" and len(arguments) in (1, 2):
        return EnvironmentVariable(arguments[0], default_value=arguments[1] if len(arguments) == 2 else None)
    if len(arguments) == 1 and name == "find-pkg-share":
        return FindPackageShare(arguments[0])
    if len(arguments) == 1 and name == "find-pkg-prefix":
        return FindPackagePrefix(arguments[0])
    if len(arguments) == 1 and name == "find-exec":
        return FindExecutable(name=arguments[0])
    raise SubstitutionFailure(
        f"substitution $({form}) is unknown; known are var, env, eval, command, dirname, find-exec, find-pkg-share and "
        "find-pkg-prefix"
    )
