"""Names of the services and topics that an action consists of (https://design.ros2.org/articles/actions.html)."""

_HIDDEN = "/_action/"
_FEEDBACK_TYPE_SUFFIX = "_FeedbackMessage"

GOAL_SERVICE = _HIDDEN + "send_goal"
CANCEL_SERVICE = _HIDDEN + "cancel_goal"
RESULT_SERVICE = _HIDDEN + "get_result"
FEEDBACK_TOPIC = _HIDDEN + "feedback"
STATUS_TOPIC = _HIDDEN + "status"


def actions_of_topics(topics: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Return names and types of the actions whose feedback topics are among ``topics``."""
    return [
        (name.removesuffix(FEEDBACK_TOPIC), [kind.removesuffix(_FEEDBACK_TYPE_SUFFIX) for kind in kinds])
        for name, kinds in topics
        if name.endswith(FEEDBACK_TOPIC)
    ]
