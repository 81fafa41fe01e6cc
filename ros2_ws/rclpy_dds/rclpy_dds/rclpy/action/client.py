"""Action clients."""

import inspect
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from typing import Any

from rclpy_dds.interfaces import message_class, service_class

from ..callback_groups import CallbackGroup
from ..client import Client
from ..node import ClientType, Node
from ..qos import QoSProfile, qos_profile_action_status_default, qos_profile_services_default
from ..task import Future
from ..type_support import check_is_valid_action_type
from .goal_states import ACTIVE_STATES, GoalState
from .names import CANCEL_SERVICE, FEEDBACK_TOPIC, GOAL_SERVICE, RESULT_SERVICE, STATUS_TOPIC

_SERVER_POLL_S = 0.01
_CONTEXT_POLL_S = 0.1


class ClientGoalHandle:
    """A goal that was sent; the result of the future of :meth:`ActionClient.send_goal_async`."""

    def __init__(self, action_client: "ActionClient", goal_id: Any, goal_response: Any) -> None:
        self._action_client = action_client
        self._goal_id = goal_id
        self._goal_response = goal_response
        self._status = int(GoalState.UNKNOWN)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClientGoalHandle) and self._goal_id == other.goal_id

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ClientGoalHandle <id={self.goal_id.uuid}, accepted={self.accepted}, status={self.status}>"

    @property
    def goal_id(self) -> Any:
        """The goal's ``unique_identifier_msgs.msg.UUID``."""
        return self._goal_id

    @property
    def stamp(self) -> Any:
        """When the server accepted the goal: a ``builtin_interfaces.msg.Time``."""
        return self._goal_response.stamp

    @property
    def accepted(self) -> bool:
        """Whether the server accepted the goal."""
        return self._goal_response.accepted

    @property
    def status(self) -> int:
        """Number of ``action_msgs.msg.GoalStatus`` as last published by the server."""
        return self._status

    def cancel_goal(self) -> Any:
        """Ask to cancel the goal and wait for the answer; see :meth:`cancel_goal_async`. Not in a callback."""
        return self._action_client._wait(self.cancel_goal_async())

    def cancel_goal_async(self) -> Future:
        """Ask to cancel the goal; the future gets an ``action_msgs.srv.CancelGoal.Response``."""
        return self._action_client._cancel_goal_async(self)

    def get_result(self) -> Any:
        """Wait for the result; see :meth:`get_result_async`. Not in a callback."""
        return self._action_client._wait(self.get_result_async())

    def get_result_async(self) -> Future:
        """Ask for the result; the future gets a response with ``status`` and ``result`` when the goal has ended."""
        return self._action_client._get_result_async(self)


class _GoalFuture(Future):
    """Future of a goal handle."""

    def __init__(self, goal_id: Any) -> None:
        super().__init__()
        self.goal_id = goal_id


class _GoalClient(Client):
    """Client of the goal service: its futures get goal handles instead of responses."""

    make_handle: Callable[[Any, Any], ClientGoalHandle]

    def run(self, future: Future, response: Any) -> None:
        if isinstance(future, _GoalFuture) and not future.cancelled():
            future.set_result(self.make_handle(future.goal_id, response))


class _ResultClient(Client):
    """Client of the result service: what was received before a result is dealt with before it."""

    deliver_feedback: Callable[[], None]

    def run(self, future: Future, response: Any) -> None:
        self.deliver_feedback()
        super().run(future, response)


class ActionClient:
    """Sends goals to an action server. Thread-safe; an executor must spin the node."""

    def __init__(
        self,
        node: Node,
        action_type: Any,
        action_name: str,
        *,
        callback_group: CallbackGroup | None = None,
        goal_service_qos_profile: QoSProfile = qos_profile_services_default,
        result_service_qos_profile: QoSProfile = qos_profile_services_default,
        cancel_service_qos_profile: QoSProfile = qos_profile_services_default,
        feedback_sub_qos_profile: QoSProfile = QoSProfile(depth=10),  # noqa: B008 - rclpy's signature
        status_sub_qos_profile: QoSProfile = qos_profile_action_status_default,
    ) -> None:
        """
        Args:
            node: node of the client.
            action_type: action class.
            action_name: name, subject to expansion.
            callback_group: group of feedback callbacks; the node's default one when None.
            goal_service_qos_profile, result_service_qos_profile, cancel_service_qos_profile: of the services.
            feedback_sub_qos_profile, status_sub_qos_profile: of the topics.

        Raises:
            RuntimeError: not an action type.
        """
        check_is_valid_action_type(action_type)
        self._node = node
        self._action_type = action_type
        self._action_name = action_name
        self._lock = threading.RLock()
        self._goal_handles: dict[bytes, weakref.ReferenceType[ClientGoalHandle]] = {}
        self._feedback_callbacks: dict[bytes, Callable[..., Any]] = {}
        # A short goal may end, and its status come in, before the answer to its request does.
        self._unanswered: dict[bytes, int] = {}
        self._destroyed = False
        self.callback_group = callback_group or node.default_callback_group
        messages = action_type.Impl
        self._feedback_subscription = node.create_subscription(
            messages.FeedbackMessage,
            action_name + FEEDBACK_TOPIC,
            self._on_feedback,
            feedback_sub_qos_profile,
            callback_group=self.callback_group,
        )
        self._status_subscription = node.create_subscription(
            messages.GoalStatusMessage,
            action_name + STATUS_TOPIC,
            self._on_status,
            status_sub_qos_profile,
            callback_group=self.callback_group,
        )

        def create(client_class: type[ClientType], kind: Any, name: str, profile: QoSProfile) -> ClientType:
            return node._dds_create_client(client_class, kind, action_name + name, profile, self.callback_group)

        self._goal_client = create(_GoalClient, messages.SendGoalService, GOAL_SERVICE, goal_service_qos_profile)
        self._cancel_client = create(Client, messages.CancelGoalService, CANCEL_SERVICE, cancel_service_qos_profile)
        self._result_client = create(
            _ResultClient, messages.GetResultService, RESULT_SERVICE, result_service_qos_profile
        )
        self._clients = [self._goal_client, self._cancel_client, self._result_client]
        self._goal_client.make_handle = self._make_handle
        self._result_client.deliver_feedback = self._deliver_feedback

    # --- goals ---

    def send_goal(self, goal: Any, **kwargs: Any) -> Any:
        """Send a goal and wait for its result; not in a callback. See :meth:`send_goal_async` for the arguments.

        Returns:
            A response with ``status`` and ``result``, or None when the context was shut down.

        Raises:
            TypeError: not an ``action_type.Goal``.
        """
        goal_handle = self._wait(self.send_goal_async(goal, **kwargs))
        return None if goal_handle is None else self._wait(self._get_result_async(goal_handle))

    def send_goal_async(
        self, goal: Any, feedback_callback: Callable[..., Any] | None = None, goal_uuid: Any = None
    ) -> Future:
        """Send a goal.

        Args:
            goal: an ``action_type.Goal``.
            feedback_callback: gets messages with ``goal_id`` and ``feedback``; may be a coroutine.
            goal_uuid: a ``unique_identifier_msgs.msg.UUID``; a random one when None.

        Returns:
            A future that gets a :class:`ClientGoalHandle` when the server has accepted or rejected the goal.

        Raises:
            TypeError: not an ``action_type.Goal``.
        """
        if not isinstance(goal, self._action_type.Goal):
            raise TypeError(f"Expected {self._action_type.Goal}, got {type(goal)}")
        if goal_uuid is None:
            goal_uuid = message_class("unique_identifier_msgs/msg/UUID")(uuid=uuid.uuid4().bytes)
        request = self._action_type.Impl.SendGoalService.Request(goal_id=goal_uuid, goal=goal)
        key = bytes(goal_uuid.uuid)
        # Before the request: feedback may come at once.
        with self._lock:
            self._unanswered[key] = int(GoalState.UNKNOWN)
            if feedback_callback is not None:
                self._feedback_callbacks[key] = feedback_callback

        def forget(future: Future) -> None:
            with self._lock:
                self._unanswered.pop(key, None)
                if future.cancelled() or not future.result().accepted:
                    self._feedback_callbacks.pop(key, None)

        future = self._goal_client._send(request, _GoalFuture(goal_uuid))
        future.add_done_callback(forget)
        return future

    def _make_handle(self, goal_id: Any, response: Any) -> ClientGoalHandle:
        handle = ClientGoalHandle(self, goal_id, response)
        key = bytes(goal_id.uuid)
        with self._lock:
            if handle.accepted:
                self._goal_handles[key] = weakref.ref(handle)
                handle._status = self._unanswered.get(key, handle._status)
        return handle

    def _cancel_goal_async(self, goal_handle: ClientGoalHandle) -> Future:
        _check_handle(goal_handle)
        request = service_class("action_msgs/srv/CancelGoal").Request()
        request.goal_info.goal_id = goal_handle.goal_id
        return self._cancel_client.call_async(request)

    def _get_result_async(self, goal_handle: ClientGoalHandle) -> Future:
        _check_handle(goal_handle)
        request = self._action_type.Impl.GetResultService.Request(goal_id=goal_handle.goal_id)
        future = self._result_client.call_async(request)
        key = bytes(goal_handle.goal_id.uuid)

        def forget(_: Future) -> None:
            with self._lock:
                self._feedback_callbacks.pop(key, None)

        future.add_done_callback(forget)
        return future

    def _wait(self, future: Future) -> Any:
        """Wait for a future that an executor in another thread completes; None when the context was shut down."""
        event = threading.Event()
        future.add_done_callback(lambda _: event.set())
        while not event.wait(_CONTEXT_POLL_S):
            if not self._node.context.ok():
                return None
        return future.result()

    # --- what the server publishes ---

    def _on_feedback(self, message: Any) -> Any:
        with self._lock:
            callback = self._feedback_callbacks.get(bytes(message.goal_id.uuid))
        return callback(message) if callback is not None else None

    def _deliver_feedback(self) -> None:
        """Call back for all feedback that has come; the callback is forgotten with the result."""
        while (arguments := self._feedback_subscription.take()) is not None:
            result = self._feedback_subscription.run(*arguments)
            executor = self._node.executor
            if executor is not None and inspect.iscoroutine(result):
                executor.create_task(result)

    def _on_status(self, message: Any) -> None:
        for entry in message.status_list:
            key = bytes(entry.goal_info.goal_id.uuid)
            with self._lock:
                if key in self._unanswered:
                    self._unanswered[key] = entry.status
                reference = self._goal_handles.get(key)
                if reference is None:
                    continue
                handle = reference()
                if handle is not None:
                    handle._status = entry.status
                if handle is None or entry.status not in (GoalState.UNKNOWN, *ACTIVE_STATES):
                    del self._goal_handles[key]

    # --- server ---

    def server_is_ready(self) -> bool:
        """Return whether a server is there, with all its services and topics."""
        return (
            not self._destroyed
            and all(client.service_is_ready() for client in self._clients)
            and self._feedback_subscription.get_publisher_count() > 0
            and self._status_subscription.get_publisher_count() > 0
        )

    def wait_for_server(self, timeout_sec: float | None = None) -> bool:
        """Wait until a server is there; return whether it is."""
        deadline = None if timeout_sec is None else time.monotonic() + timeout_sec
        while self._node.context.ok() and not self._destroyed:
            if self.server_is_ready():
                return True
            left = _SERVER_POLL_S if deadline is None else min(_SERVER_POLL_S, deadline - time.monotonic())
            if left <= 0:
                return False
            time.sleep(left)
        return False

    def destroy(self) -> None:
        """Destroy the client."""
        if self._destroyed:
            return
        self._destroyed = True
        for client in self._clients:
            self._node.destroy_client(client)
        self._node.destroy_subscription(self._feedback_subscription)
        self._node.destroy_subscription(self._status_subscription)

    def __enter__(self) -> "ActionClient":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.destroy()


def _check_handle(goal_handle: Any) -> None:
    if not isinstance(goal_handle, ClientGoalHandle):
        raise TypeError(f"Expected type ClientGoalHandle but received {type(goal_handle)}")
