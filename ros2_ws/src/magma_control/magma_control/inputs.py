"""Everything that a controller can be told, and what it answers: all that moves it from one state to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk, EndEffectorDelta
from magma_contracts.arm_state import EndEffectorState
from magma_control.commands import Command, Source
from magma_control.config import ControllerConfig
from magma_control.safety import Refusal

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class Outcome:
    """Answer to an operator's request."""

    success: bool
    message: str


class Input(Generic[AnswerT]):
    """One thing that a controller is told; `Controller.handle` answers with an `AnswerT`."""


@dataclass(frozen=True)
class Begun(Input[None]):
    """The controller was made."""


@dataclass(frozen=True)
class Tick(Input[Command | None]):
    """Time passed: what is due now is done. Answered with at most one command."""


@dataclass(frozen=True)
class Configured(Input[None]):
    """Other limits and times are in force."""

    config: ControllerConfig


# What comes from policy, operator and arm. Answered with why it is not followed, or None.


@dataclass(frozen=True)
class InstructionHeard(Input[None]):
    """What the robot is to do; an empty text means nothing."""

    text: str


@dataclass(frozen=True)
class SpecHeard(Input[Refusal | None]):
    """What the policy's actions mean."""

    spec: ActionSpec


@dataclass(frozen=True)
class ChunkHeard(Input[Refusal | None]):
    """What the policy wants for the next steps."""

    chunk: ActionChunk


@dataclass(frozen=True)
class OperatorHeard(Input[Refusal | None]):
    """What an operator wants."""

    command: EndEffectorDelta


@dataclass(frozen=True)
class HeartbeatHeard(Input[None]):
    """A sign of life of a policy or an operator's device."""

    source: Source
    who: str = ""
    """which operator, as in its commands; one without a name speaks for all"""


@dataclass(frozen=True)
class Unread(Input[None]):
    """An input that was refused before it was read."""

    refusal: Refusal
    source: Source | None = None
    """POLICY for an action chunk; None for what does not ask for a motion"""


@dataclass(frozen=True)
class RivalHeard(Input[None]):
    """Somebody else says what only this controller may say."""

    what: str
    """the topic, and who publishes on it besides"""


@dataclass(frozen=True)
class StateHeard(Input[Refusal | None]):
    """Where the arm is."""

    state: EndEffectorState


@dataclass(frozen=True)
class ArmRefused(Input[None]):
    """A report of the arm is not believed, or the arm does not follow."""

    refusal: Refusal


@dataclass(frozen=True)
class ArmBarred(Input[None]):
    """Why the arm must not be moved now although it reports; None when it may be moved again."""

    trouble: Refusal | None


# Requests of people and of the program around the controller.


@dataclass(frozen=True)
class ButtonHeard(Input[None]):
    """What an emergency stop button says about itself."""

    pressed: bool
    shared: bool = False
    """the button that stops every arm; otherwise the one of this arm"""


@dataclass(frozen=True)
class Stop(Input[Outcome]):
    """Emergency stop."""

    why: str


@dataclass(frozen=True)
class Fault(Input[None]):
    """The controller cannot trust its inputs about the arm, or itself."""

    why: str


@dataclass(frozen=True)
class Rearm(Input[Outcome]):
    """Leave a latch."""


@dataclass(frozen=True)
class HandBack(Input[Outcome]):
    """The operator gives the arm back."""


@dataclass(frozen=True)
class Activate(Input[None]):
    """Commands may go out."""


@dataclass(frozen=True)
class Deactivate(Input[None]):
    """From now on nobody moves the arm."""

    why: str


@dataclass(frozen=True)
class Forget(Input[None]):
    """What was heard of policy, operator and arm does not count any more."""
