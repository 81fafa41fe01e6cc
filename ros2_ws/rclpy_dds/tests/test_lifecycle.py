"""Lifecycle nodes: transitions, their callbacks, services and events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lifecycle_msgs.msg import State, Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
from rclpy.exceptions import RCLError
from rclpy.lifecycle import LifecycleNode, SimpleManagedEntity, TransitionCallbackReturn
from std_msgs.msg import String


class Recording(LifecycleNode):
    """Notes its callbacks and returns what the test wants."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.calls: list[tuple[str, str]] = []
        self.answers: dict[str, Any] = {}

    def note(self, name: str, state: Any) -> Any:
        self.calls.append((name, state.label))
        answer = self.answers.get(name)
        if isinstance(answer, Exception):
            raise answer
        return answer or getattr(LifecycleNode, name)(self, state)

    def on_configure(self, state: Any) -> Any:
        return self.note("on_configure", state)

    def on_activate(self, state: Any) -> Any:
        return self.note("on_activate", state)

    def on_deactivate(self, state: Any) -> Any:
        return self.note("on_deactivate", state)

    def on_cleanup(self, state: Any) -> Any:
        return self.note("on_cleanup", state)

    def on_shutdown(self, state: Any) -> Any:
        return self.note("on_shutdown", state)

    def on_error(self, state: Any) -> Any:
        return self.note("on_error", state)

    @property
    def state(self) -> str:
        return self._state_machine.current_state[1]


@pytest.fixture
def node(context: Any, executor: Any) -> Recording:
    node = Recording("managed", context=context)
    executor.add_node(node)
    return node


def test_a_whole_life(node: Recording) -> None:
    states = [node.state]
    for step in ("configure", "activate", "deactivate", "cleanup", "configure", "activate", "shutdown"):
        assert getattr(node, f"trigger_{step}")() is TransitionCallbackReturn.SUCCESS
        states.append(node.state)
    assert states == [
        "unconfigured", "inactive", "active", "inactive", "unconfigured", "inactive", "active", "finalized",
    ]  # fmt: skip
    assert node.calls[0] == ("on_configure", "unconfigured") and node.calls[-1] == ("on_shutdown", "active")


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ({"on_configure": TransitionCallbackReturn.FAILURE}, "unconfigured"),
        ({"on_configure": TransitionCallbackReturn.ERROR}, "unconfigured"),
        ({"on_configure": RuntimeError("boom")}, "unconfigured"),
        ({"on_configure": "no answer"}, "unconfigured"),
        ({"on_configure": RuntimeError("boom"), "on_error": TransitionCallbackReturn.FAILURE}, "finalized"),
        ({"on_configure": RuntimeError("boom"), "on_error": RuntimeError("again")}, "finalized"),
    ],
)
def test_failing_transitions(node: Recording, answers: dict[str, Any], state: str) -> None:
    node.answers = answers
    assert node.trigger_configure() is not TransitionCallbackReturn.SUCCESS
    assert node.state == state
    failed = answers["on_configure"] is TransitionCallbackReturn.FAILURE
    assert [name for name, _ in node.calls] == ["on_configure"] + ([] if failed else ["on_error"])


def test_impossible_transitions_change_nothing(node: Recording) -> None:
    with pytest.raises(RCLError, match="'activate' from state 'unconfigured'"):
        node.trigger_activate()
    assert node.state == "unconfigured" and node.calls == []
    node.trigger_shutdown()
    with pytest.raises(RCLError, match="there are: none"):
        node.trigger_shutdown()


def test_managed_publisher_sends_while_active(
    node: Recording, make_node: Callable[..., Any], spin_until: Callable[..., None]
) -> None:
    publisher = node.create_lifecycle_publisher(String, "chatter", 10)
    received: list[str] = []
    listener = make_node("listener")
    listener.create_subscription(String, "chatter", lambda message: received.append(message.data), 10)
    spin_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(String(data="unconfigured"))
    node.trigger_configure()
    publisher.publish(String(data="inactive"))
    node.trigger_activate()
    assert publisher.is_activated
    publisher.publish(String(data="active"))
    node.trigger_deactivate()
    publisher.publish(String(data="inactive again"))
    node.trigger_activate()
    publisher.publish(String(data="last"))
    spin_until(lambda: "last" in received)
    assert received == ["active", "last"]
    assert node.destroy_lifecycle_publisher(publisher) and not node.destroy_lifecycle_publisher(publisher)


def test_managed_entities_decide(node: Recording) -> None:
    class Part(SimpleManagedEntity):
        def on_configure(self, state: Any) -> Any:
            return TransitionCallbackReturn.FAILURE

    with pytest.raises(TypeError):
        node.add_managed_entity(object())  # type: ignore[arg-type]
    node.add_managed_entity(Part())
    assert node.trigger_configure() is TransitionCallbackReturn.FAILURE


def test_services_and_events(node: Recording, make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    caller = make_node("caller")
    events: list[Any] = []
    caller.create_subscription(TransitionEvent, "/managed/transition_event", events.append, 10)
    spin_until(lambda: caller.count_publishers("/managed/transition_event") == 1)

    def ask(kind: Any, name: str, request: Any = None) -> Any:
        client = caller.create_client(kind, f"/managed/{name}")
        spin_until(client.service_is_ready)
        future = client.call_async(request or kind.Request())
        spin_until(future.done)
        caller.destroy_client(client)
        return future.result()

    def change(**transition: Any) -> bool:
        return ask(ChangeState, "change_state", ChangeState.Request(transition=Transition(**transition))).success

    assert ask(GetState, "get_state").current_state == State(id=1, label="unconfigured")
    assert len(ask(GetAvailableStates, "get_available_states").available_states) == 11
    assert len(ask(GetAvailableTransitions, "get_transition_graph").available_transitions) == 25
    possible = ask(GetAvailableTransitions, "get_available_transitions").available_transitions
    assert [entry.transition.label for entry in possible] == ["configure", "shutdown"]
    assert not change(id=Transition.TRANSITION_ACTIVATE)
    assert not change(label="nonsense")
    assert change(id=Transition.TRANSITION_CONFIGURE)
    assert change(label="activate")
    assert node.state == "active"
    spin_until(lambda: len(events) == 4)
    assert [(event.start_state.label, event.goal_state.label) for event in events] == [
        ("unconfigured", "configuring"),
        ("configuring", "inactive"),
        ("inactive", "activating"),
        ("activating", "active"),
    ]


def test_without_communication(context: Any) -> None:
    node = LifecycleNode("silent", enable_communication_interface=False, context=context)
    assert not [service for service in node.services if service.srv_name.endswith("change_state")]
    assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
    node.destroy_node()
