"""Action servers."""

import threading
import traceback
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any

from rclpy_dds.interfaces import message_class

from ..callback_groups import CallbackGroup
from ..constants import S_TO_NS
from ..exceptions import RCLError
from ..executors import await_or_execute
from ..node import Node
from ..qos import QoSProfile, qos_profile_action_status_default, qos_profile_services_default
from ..service import RequestHeader, Service
from ..task import Future
from ..type_support import check_is_valid_action_type
from .goal_states import ACTIVE_STATES, CANCELABLE_STATES, GoalEvent, GoalState, next_state
from .names import CANCEL_SERVICE, FEEDBACK_TOPIC, GOAL_SERVICE, RESULT_SERVICE, STATUS_TOPIC

__all__ = [
    "ActionServer",
    "CancelResponse",
    "GoalEvent",
    "GoalResponse",
    "ServerGoalHandle",
    "default_cancel_callback",
    "default_goal_callback",
    "default_handle_accepted_callback",
]


class GoalResponse(Enum):
    """Answer of a goal callback."""

    REJECT = 1
    ACCEPT = 2


class CancelResponse(Enum):
    """Answer of a cancel callback."""

    REJECT = 1
    ACCEPT = 2


def default_handle_accepted_callback(goal_handle: "ServerGoalHandle") -> None:
    """Execute the goal at once."""
    goal_handle.execute()


def default_goal_callback(goal_request: Any) -> GoalResponse:
    """Accept every goal."""
    return GoalResponse.ACCEPT


def default_cancel_callback(cancel_request: Any) -> CancelResponse:
    """Cancel nothing."""
    return CancelResponse.REJECT


class ServerGoalHandle:
    """One accepted goal; made by :class:`ActionServer`. Thread-safe."""

    def __init__(self, action_server: "ActionServer", goal_info: Any, goal_request: Any) -> None:
        self._action_server = action_server
        self._goal_info = goal_info
        self._goal_request = goal_request
        self._state = GoalState.ACCEPTED
        self._lock = threading.RLock()
        self._destroyed = False
        self._result_future = Future()
        self._terminated_at_ns: int | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServerGoalHandle) and self.goal_id == other.goal_id

    __hash__ = None  # type: ignore[assignment]

    @property
    def request(self) -> Any:
        """The goal: an ``action_type.Goal``."""
        return self._goal_request

    @property
    def goal_id(self) -> Any:
        """Its ``unique_identifier_msgs.msg.UUID``."""
        return self._goal_info.goal_id

    @property
    def is_active(self) -> bool:
        """Whether the goal is accepted, executing or canceling."""
        with self._lock:
            return not self._destroyed and self._state in ACTIVE_STATES

    @property
    def is_cancel_requested(self) -> bool:
        """Whether the goal is to be cancelled and has not ended yet."""
        return self.status == GoalState.CANCELING

    @property
    def status(self) -> int:
        """Number of ``action_msgs.msg.GoalStatus``; unknown when the handle was destroyed."""
        with self._lock:
            return int(GoalState.UNKNOWN if self._destroyed else self._state)

    def _update_state(self, event: GoalEvent) -> None:
        with self._lock:
            if self._destroyed:
                return
            self._state = next_state(self._state, event)
        self._action_server._publish_status()

    def execute(self, execute_callback: Callable[..., Any] | None = None) -> None:
        """Run the execute callback of the server, or another one, as a task of the node's executor."""
        # A goal that was cancelled before its execution stays canceling: the callback ends it.
        if not self.is_cancel_requested:
            self._update_state(GoalEvent.EXECUTE)
        self._action_server.notify_execute(self, execute_callback)

    def publish_feedback(self, feedback: Any) -> None:
        """Send feedback.

        Raises:
            TypeError: not an ``action_type.Feedback``.
        """
        kind = self._action_server.action_type.Feedback
        if not isinstance(feedback, kind):
            raise TypeError(f"Expected {kind}, got {type(feedback)}")
        with self._lock:
            if not self._destroyed:
                self._action_server._publish_feedback(self.goal_id, feedback)

    def succeed(self) -> None:
        """End the goal as succeeded.

        Raises:
            RCLError: it has ended or does not execute yet.
        """
        self._update_state(GoalEvent.SUCCEED)

    def abort(self) -> None:
        """End the goal as aborted.

        Raises:
            RCLError: it has ended or does not execute yet.
        """
        self._update_state(GoalEvent.ABORT)

    def canceled(self) -> None:
        """End the goal as cancelled.

        Raises:
            RCLError: nobody asked to cancel it, or it has ended.
        """
        self._update_state(GoalEvent.CANCELED)

    def destroy(self) -> None:
        """Stop reporting on the goal."""
        with self._lock:
            self._destroyed = True


class _RequestService(Service):
    """A service whose callback gets the request and its header and responds when it likes."""

    def run(self, request: Any, header: RequestHeader) -> Any:
        return self.callback(request, header)


class ActionServer:
    """Executes goals of an action. Callbacks may be coroutines.

    Goals, cancelling and requests for results are handled in the callback group; goals are executed as tasks of the
    executor, outside any group. With a single-threaded executor an execute callback that blocks keeps everything else
    waiting, so that nobody can cancel it: make it a coroutine or use a ``MultiThreadedExecutor``.
    """

    def __init__(
        self,
        node: Node,
        action_type: Any,
        action_name: str,
        execute_callback: Callable[..., Any],
        *,
        callback_group: CallbackGroup | None = None,
        goal_callback: Callable[..., Any] | None = default_goal_callback,
        handle_accepted_callback: Callable[..., Any] | None = default_handle_accepted_callback,
        cancel_callback: Callable[..., Any] | None = default_cancel_callback,
        goal_service_qos_profile: QoSProfile = qos_profile_services_default,
        result_service_qos_profile: QoSProfile = qos_profile_services_default,
        cancel_service_qos_profile: QoSProfile = qos_profile_services_default,
        feedback_pub_qos_profile: QoSProfile = QoSProfile(depth=10),  # noqa: B008 - rclpy's signature
        status_pub_qos_profile: QoSProfile = qos_profile_action_status_default,
        result_timeout: float = 900,
    ) -> None:
        """
        Args:
            node: node that serves.
            action_type: action class.
            action_name: name, subject to expansion.
            execute_callback: gets a :class:`ServerGoalHandle` and returns an ``action_type.Result``. A goal that it
                leaves active, or in which it raises, is aborted.
            callback_group: group of the other callbacks; the node's default one when None.
            goal_callback: gets the goal and returns a :class:`GoalResponse`.
            handle_accepted_callback: gets the handle of a new goal; runs it at once when None.
            cancel_callback: gets the handle of a goal to cancel and returns a :class:`CancelResponse`.
            goal_service_qos_profile, result_service_qos_profile, cancel_service_qos_profile: of the services.
            feedback_pub_qos_profile, status_pub_qos_profile: of the topics.
            result_timeout: seconds for which the result of a finished goal is kept; forever when negative.

        Raises:
            TypeError: the execute callback cannot be called.
            RuntimeError: not an action type.
        """
        check_is_valid_action_type(action_type)
        self.register_handle_accepted_callback(handle_accepted_callback)
        self.register_goal_callback(goal_callback)
        self.register_cancel_callback(cancel_callback)
        self.register_execute_callback(execute_callback)
        self._node = node
        self._action_type = action_type
        self._action_name = action_name
        self._logger = node.get_logger().get_child("action_server")
        self._lock = threading.RLock()
        self._goal_handles: dict[bytes, ServerGoalHandle] = {}
        self._result_timeout_ns = int(result_timeout * S_TO_NS)
        self._destroyed = False
        self.callback_group = callback_group or node.default_callback_group
        messages = action_type.Impl
        self._status_publisher = node.create_publisher(
            messages.GoalStatusMessage, action_name + STATUS_TOPIC, status_pub_qos_profile
        )
        self._feedback_publisher = node.create_publisher(
            messages.FeedbackMessage, action_name + FEEDBACK_TOPIC, feedback_pub_qos_profile
        )
        # The way to ask for goals comes last: nobody should see it before the rest is there.
        self._services = [
            node._dds_create_service(_RequestService, kind, action_name + name, callback, profile, self.callback_group)
            for kind, name, callback, profile in (
                (messages.GetResultService, RESULT_SERVICE, self._on_result_request, result_service_qos_profile),
                (messages.CancelGoalService, CANCEL_SERVICE, self._on_cancel_request, cancel_service_qos_profile),
                (messages.SendGoalService, GOAL_SERVICE, self._on_goal_request, goal_service_qos_profile),
            )
        ]
        self._result_service, self._cancel_service, self._goal_service = self._services
        self._expiry_timer = node.create_timer(
            max(result_timeout, 0), self._expire_goals, self.callback_group, autostart=False
        )

    @property
    def action_type(self) -> Any:
        """The action class."""
        return self._action_type

    # --- callbacks ---

    def register_handle_accepted_callback(self, handle_accepted_callback: Callable[..., Any] | None) -> None:
        """Replace the callback that gets the handle of a new goal; None: execute it at once."""
        self._handle_accepted_callback = handle_accepted_callback or default_handle_accepted_callback

    def register_goal_callback(self, goal_callback: Callable[..., Any] | None) -> None:
        """Replace the callback that accepts or rejects goals; None: accept all."""
        self._goal_callback = goal_callback or default_goal_callback

    def register_cancel_callback(self, cancel_callback: Callable[..., Any] | None) -> None:
        """Replace the callback that decides on cancelling; None: never."""
        self._cancel_callback = cancel_callback or default_cancel_callback

    def register_execute_callback(self, execute_callback: Callable[..., Any]) -> None:
        """Replace the callback that executes goals.

        Raises:
            TypeError: it cannot be called.
        """
        if not callable(execute_callback):
            raise TypeError("Failed to register goal execution callback: not callable")
        self._execute_callback = execute_callback

    # --- goals ---

    async def _on_goal_request(self, request: Any, header: RequestHeader) -> None:
        goal_uuid = bytes(request.goal_id.uuid)
        response = self._action_type.Impl.SendGoalService.Response()
        with self._lock:
            known = goal_uuid in self._goal_handles
        if not known:
            answer = await await_or_execute(self._goal_callback, request.goal)
            if not isinstance(answer, GoalResponse):
                self._logger.warning("Goal request callback did not return a GoalResponse type. Rejecting goal.")
            response.accepted = answer is GoalResponse.ACCEPT
        if not response.accepted:
            self._respond(self._goal_service, response, header, "goal")
            return
        goal_info = message_class("action_msgs/msg/GoalInfo")(
            goal_id=request.goal_id, stamp=self._node.get_clock().now().to_msg()
        )
        response.stamp = goal_info.stamp
        goal_handle = ServerGoalHandle(self, goal_info, request.goal)
        with self._lock:
            self._goal_handles[goal_uuid] = goal_handle
        self._publish_status()
        self._respond(self._goal_service, response, header, "goal")
        await await_or_execute(self._handle_accepted_callback, goal_handle)

    def notify_execute(self, goal_handle: ServerGoalHandle, execute_callback: Callable[..., Any] | None) -> None:
        """Schedule the execution of a goal.

        Raises:
            RuntimeError: the node is in no executor.
        """
        executor = self._node.executor
        if executor is None:
            raise RuntimeError(f"A goal of action {self._action_name!r} cannot execute: its node is in no executor")
        executor.create_task(self._execute_goal, execute_callback or self._execute_callback, goal_handle)

    async def _execute_goal(self, execute_callback: Callable[..., Any], goal_handle: ServerGoalHandle) -> None:
        try:
            result = await await_or_execute(execute_callback, goal_handle)
            if not isinstance(result, self._action_type.Result):
                raise TypeError(f"the execute callback must return {self._action_type.Result}, not {result!r}")
        except Exception as error:
            result = self._action_type.Result()
            self._logger.error(f"Error raised in execute callback: {error}")
            traceback.print_exc()
        if goal_handle.is_active:
            self._logger.warning(
                f"Goal state not set, assuming aborted. Goal ID: {bytes(goal_handle.goal_id.uuid).hex()}"
            )
            goal_handle.abort()
        response = self._action_type.Impl.GetResultService.Response(status=goal_handle.status, result=result)
        goal_handle._terminated_at_ns = self._node.get_clock().now().nanoseconds
        goal_handle._result_future.set_result(response)
        self._arm_expiry_timer()

    def _publish_status(self) -> None:
        kind = message_class("action_msgs/msg/GoalStatus")
        # Under the lock, so that the last message sent is the latest state.
        with self._lock:
            if self._destroyed:
                return
            status_list = [
                kind(goal_info=handle._goal_info, status=handle.status) for handle in self._goal_handles.values()
            ]
            self._publish(self._status_publisher, self._action_type.Impl.GoalStatusMessage(status_list=status_list))

    def _publish_feedback(self, goal_id: Any, feedback: Any) -> None:
        message = self._action_type.Impl.FeedbackMessage(goal_id=goal_id, feedback=feedback)
        self._publish(self._feedback_publisher, message)

    def _publish(self, publisher: Any, message: Any) -> None:
        try:
            publisher.publish(message)
        except RCLError:
            # A goal that ends while its node is being destroyed has nobody to tell.
            if self._node.context.ok() and not publisher.handle.closed:
                raise

    # --- cancelling ---

    def _goals_to_cancel(self, goal_info: Any) -> tuple[list[ServerGoalHandle], int]:
        """Return the goals that a cancel request means, and the return code as far as it is clear.

        A zero id and a zero stamp mean all goals; a stamp all goals accepted up to then; an id this goal.
        """
        codes = self._action_type.Impl.CancelGoalService.Response
        wanted = bytes(goal_info.goal_id.uuid)
        stamp = _stamp_ns(goal_info.stamp)
        with self._lock:
            if any(wanted) and stamp == 0:
                handle = self._goal_handles.get(wanted)
                if handle is None:
                    return [], codes.ERROR_UNKNOWN_GOAL_ID
                if handle.status not in CANCELABLE_STATES:
                    return [], codes.ERROR_GOAL_TERMINATED
                return [handle], codes.ERROR_NONE
            return [
                handle
                for uuid, handle in self._goal_handles.items()
                if handle.status in CANCELABLE_STATES
                and (stamp == 0 or _stamp_ns(handle._goal_info.stamp) <= stamp or uuid == wanted)
            ], codes.ERROR_NONE

    async def _on_cancel_request(self, request: Any, header: RequestHeader) -> None:
        response = self._action_type.Impl.CancelGoalService.Response()
        handles, response.return_code = self._goals_to_cancel(request.goal_info)
        for handle in handles:
            answer = await await_or_execute(self._cancel_callback, handle)
            if answer is not CancelResponse.ACCEPT:
                continue
            try:
                handle._update_state(GoalEvent.CANCEL_GOAL)
            except RCLError as error:
                self._logger.debug(f"Failed to cancel goal in cancel callback: {error}")  # it has just ended
            else:
                response.goals_canceling.append(handle._goal_info)
        if handles and not response.goals_canceling:
            response.return_code = response.ERROR_REJECTED
        self._respond(self._cancel_service, response, header, "cancel")

    # --- results ---

    def _on_result_request(self, request: Any, header: RequestHeader) -> None:
        with self._lock:
            handle = self._goal_handles.get(bytes(request.goal_id.uuid))
        if handle is None:
            response = self._action_type.Impl.GetResultService.Response(status=int(GoalState.UNKNOWN))
            self._respond(self._result_service, response, header, "result")
            return
        handle._result_future.add_done_callback(partial(self._send_result, header))

    def _send_result(self, header: RequestHeader, future: Future) -> None:
        self._respond(self._result_service, future.result(), header, "result")

    def _respond(self, service: Service, response: Any, header: RequestHeader, what: str) -> None:
        try:
            service.send_response(response, header)
        except RCLError:
            self._logger.warning(f"Failed to send {what} response (the client may have gone away)")

    # --- expiry ---

    def _expiries(self) -> list[tuple[int, bytes]]:
        """Return when goals expire (nanoseconds of the node's clock) and their ids, the next one first."""
        return sorted(
            (handle._terminated_at_ns + self._result_timeout_ns, uuid)
            for uuid, handle in self._goal_handles.items()
            if handle._terminated_at_ns is not None
        )

    def _arm_expiry_timer(self) -> None:
        with self._lock:
            expiries = self._expiries()
            if self._destroyed or self._result_timeout_ns < 0:
                return
            if not expiries:
                self._expiry_timer.cancel()
                return
            self._expiry_timer.timer_period_ns = max(expiries[0][0] - self._node.get_clock().now().nanoseconds, 0)
            self._expiry_timer.reset()

    def _expire_goals(self) -> None:
        now = self._node.get_clock().now().nanoseconds
        with self._lock:
            expired = [uuid for expiry, uuid in self._expiries() if expiry <= now]
            for uuid in expired:
                self._goal_handles.pop(uuid).destroy()
        if expired:
            self._publish_status()
        self._arm_expiry_timer()

    # --- end ---

    def destroy(self) -> None:
        """Destroy the server; goals that execute go on, and nobody hears of them any more."""
        with self._lock:
            if self._destroyed:
                return
            self._destroyed = True
            for handle in self._goal_handles.values():
                handle.destroy()
            self._goal_handles.clear()
        self._node.destroy_timer(self._expiry_timer)
        for service in self._services:
            self._node.destroy_service(service)
        self._node.destroy_publisher(self._feedback_publisher)
        self._node.destroy_publisher(self._status_publisher)

    def __enter__(self) -> "ActionServer":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.destroy()


def _stamp_ns(stamp: Any) -> int:
    return stamp.sec * S_TO_NS + stamp.nanosec
