"""Who says what: no topic has two writers whose order matters, and no node obeys what it says itself."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES, LAUNCH = ROOT / "ros2_ws" / "src", ROOT / "launch"
SAYING = {"create_publisher", "create_lifecycle_publisher"}
HEARING = {"create_subscription", "_hear", "hear", "ForeignSubscription"}

OPERATORS = {"device_node", "keyboard_teleop_node", "scripted_operator_node", "robot_link"}
POLICIES = {"policy_node", "scripted_policy_node"}
SEVERAL_WRITERS = {
    # The controller lets one device have the arm, and each message names its device.
    "teleop/command": OPERATORS,
    "teleop/status": OPERATORS,
    "magma/teleop_heartbeat": OPERATORS,
    # The one or the other is started.
    "magma/action_chunk": POLICIES,
    "magma/action_spec": POLICIES,
    "magma/end_effector_state": {"controller_node", "simulator_node"},
    "camera/image_raw": {"camera_source", "simulator_node"},
}
"""Topics that more than one program publishes, and why their order does not matter."""
EITHER_WAY = {
    # The arm's state is heard from an arm that knows where it is, said for one that is told joint by joint. Commands
    # and reports of controllers are only heard to find out that somebody else says some, too; none is obeyed.
    "controller_node": {"magma/end_effector_state", "magma/command", "magma/controller_state"},
}
"""Topics that a node says and hears without obeying itself, and why."""

PICTURES = {"camera/image_raw", "camera/image_raw/compressed", "magma/frame"}
"""Large by nature; their subscriptions ask for nothing, so that they hear everybody."""
SIMULATED_ALONE = {
    "click_node", "episode_runner", "joint_simulator_node", "live_view", "scripted_operator_node",
    "scripted_policy_node", "simulator_node", "task_server", "world_subscriptions",
}  # fmt: skip
"""Part of the simulation and what is shown of it: no arm waits for them, and they hear each other alone."""


def texts(nodes: Iterable[ast.AST]) -> dict[str, set[str]]:
    """The texts that are given names, one by one or several at once."""
    found: dict[str, set[str]] = defaultdict(set)
    for node in nodes:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            several = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            pairs = zip(target.elts, node.value.elts, strict=False) if several else [(target, node.value)]
            for name, value in pairs:
                if isinstance(name, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found[name.id].add(value.value)
    return found


def calls() -> Iterator[tuple[str, str, str]]:
    """Module, name of the called method, topic."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES.glob("*/*/**/*.py")}
    constants: dict[str, set[str]] = {}
    for tree in trees.values():
        constants.update(texts(tree.body))
    for path, tree in trees.items():
        names = {**constants, **texts(ast.walk(tree))}
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and len(node.args) > 2):
                continue
            # Both the methods of a node and what hears for one, whose first argument is the node.
            method = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if method in SAYING | HEARING:
                topic = node.args[2 if method == "ForeignSubscription" else 1]
                known = {topic.value} if isinstance(topic, ast.Constant) else names.get(ast.unparse(topic), set())
                for name in known:
                    yield path.stem, method, str(name)


def test_no_node_obeys_what_it_says_itself():
    said, heard = defaultdict(set), defaultdict(set)
    for module, method, topic in calls():
        (said if method in SAYING else heard)[module].add(topic)
    assert len(said) > 8 and len(heard) > 8
    assert {module: both for module in said if (both := said[module] & heard[module])} == EITHER_WAY


def test_every_other_topic_has_one_writer():
    writers = defaultdict(set)
    for module, method, topic in calls():
        if method in SAYING:
            writers[topic].add(module)
    assert writers["magma/instruction_in_force"] == {"instruction_keeper"}
    several = {topic: modules for topic, modules in writers.items() if len(modules) > 1}
    assert several == SEVERAL_WRITERS


GLOBAL = {
    # What ROS 2 itself shares in a graph.
    "/tf",
    "/tf_static",
    "/diagnostics",
    # One button, or one call, stops every arm.
    "/magma/estop_button",
    "/magma/estop",
}
"""Names that are the same in every namespace, and why; every other one is relative, so that two arms live in two."""
FILES = ("/dev/", "/proc/", "/etc/", "/sys/", "/usr/", "/opt/", "/tmp/")
NO_NAMES_OF_THE_GRAPH = {
    # Topics are known there by what they are called in no namespace.
    "topics",
    # What a person is told to call; the node gives the names that it has.
    "graph_names",
    # Addresses of pages that this machine serves.
    "live_page",
    "door",
    "recordings_page",
    "evaluate_page",
}
ENDINGS = {"/compressed", "/_action/status"}


def test_names_are_relative():
    absolute = defaultdict(set)
    for path in [*SOURCES.glob("*/*/**/*.py"), *LAUNCH.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if re.fullmatch(r"(/[A-Za-z_]\w*)+", text) and not text.startswith(FILES) and text not in ENDINGS:
                absolute[text].add(path.stem)
    found = {name: where - NO_NAMES_OF_THE_GRAPH for name, where in absolute.items() if name not in GLOBAL}
    assert {name: where for name, where in found.items() if where} == {}
    assert {"/tf", "/magma/estop"} <= absolute.keys()


def test_names_in_the_robots_that_come_with_the_project_are_relative():
    files = [*SOURCES.glob("*/*/robots/*.yaml"), *SOURCES.glob("*/config/**/*.yaml")]
    assert len(files) >= 4
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if re.search(r":\s*[\"']?(topic://)?/\w+", line.partition("#")[0])] == []


def test_what_others_say_is_heard_however_they_offer_it():
    fixed = {
        (module, topic)
        for module, method, topic in calls()
        if method == "create_subscription" and topic not in PICTURES and module not in SIMULATED_ALONE
    }
    # The controller's command and the simulator's status come from our own programs.
    assert fixed == {("policy_node", "magma/command"), ("instruction_keeper", "magma/episode_status")}


def test_what_others_say_is_refused_by_its_size_before_it_is_read():
    unlimited = []
    for path in SOURCES.glob("*/*/**/*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in ("ForeignSubscription", "hear") and "most_bytes" not in {item.arg for item in node.keywords}:
                unlimited.append(path.stem)
    # A recorder and what shows recordings pass on the bytes of what they hear, and read none of them.
    assert sorted(unlimited) == ["foxglove_node", "recorder_node"]
