"""Substitutions, conditions, parameters and names, without starting any process."""

import os

import pytest
import yaml

from rclpy_dds import launch, launch_ros
from rclpy_dds.launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    TimerAction,
)
from rclpy_dds.launch.conditions import (
    IfCondition,
    InvalidConditionExpressionError,
    LaunchConfigurationEquals,
    UnlessCondition,
)
from rclpy_dds.launch.launch_description_sources import PythonLaunchDescriptionSource
from rclpy_dds.launch.substitutions import (
    AndSubstitution,
    AnonName,
    Command,
    EnvironmentVariable,
    EqualsSubstitution,
    FileContent,
    IfElseSubstitution,
    LaunchConfiguration,
    NotEqualsSubstitution,
    NotSubstitution,
    OrSubstitution,
    PathJoinSubstitution,
    PythonExpression,
    SubstitutionFailure,
    TextSubstitution,
)
from rclpy_dds.launch.utilities import resolve
from rclpy_dds.launch_ros.actions import Node, PushRosNamespace, SetParameter, SetRemap
from rclpy_dds.launch_ros.parameter_descriptions import Parameter, ParameterFile, ParameterValue
from rclpy_dds.launch_ros.substitutions import FindPackageShare


@pytest.fixture
def context(tmp_path):
    made = launch.LaunchContext()
    made.launch_configurations.update({"number": "5", "flag": "true", "word": "hello", "names": "[a, b]"})
    environment = dict(os.environ)
    yield made
    os.environ.clear()
    os.environ.update(environment)
    for path in made.temporary_files:
        os.unlink(path)


def visit(context, *entities):
    """Visit entities depth first, as the launch service does, and return all of them in order."""
    seen = []
    for entity in entities:
        seen.append(entity)
        seen += visit(context, *(entity.visit(context) or []))
    return seen


@pytest.mark.parametrize(
    ("substitution", "text"),
    [
        (LaunchConfiguration("word"), "hello"),
        (LaunchConfiguration("missing", default=3), "3"),
        (LaunchConfiguration(["wo", TextSubstitution(text="rd")]), "hello"),
        (["a ", LaunchConfiguration("word"), "!"], "a hello!"),
        (PathJoinSubstitution(["/a", LaunchConfiguration("word"), "b.yaml"]), "/a/hello/b.yaml"),
        (PathJoinSubstitution(["/a", [LaunchConfiguration("word"), ".yaml"]]), "/a/hello.yaml"),
        (EnvironmentVariable("NO_SUCH_VARIABLE", default_value="x"), "x"),
        (PythonExpression(["'", LaunchConfiguration("word"), "' == 'hello'"]), "True"),
        (PythonExpression(["sqrt(", LaunchConfiguration("number"), " + 4)"]), "3.0"),
        (PythonExpression("os.path.basename('/a/b')", python_modules=["os"]), "b"),
        (Command(["echo ", LaunchConfiguration("word")]), "hello\n"),
        (EqualsSubstitution(LaunchConfiguration("word"), "hello"), "true"),
        (EqualsSubstitution("1", True), "true"),
        (EqualsSubstitution("0.50", 0.5), "true"),
        (NotEqualsSubstitution(LaunchConfiguration("word"), "hello"), "false"),
        (NotSubstitution("false"), "true"),
        (AndSubstitution(LaunchConfiguration("flag"), "0"), "false"),
        (OrSubstitution(LaunchConfiguration("flag"), "not a truth value"), "true"),
        (IfElseSubstitution(LaunchConfiguration("flag"), "yes", "no"), "yes"),
    ],
)
def test_substitutions(context, substitution, text):
    assert resolve(context, substitution) == text


@pytest.mark.parametrize(
    ("substitution", "message"),
    [
        (LaunchConfiguration("missing"), "launch configuration 'missing' does not exist"),
        (EnvironmentVariable("NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
        (PythonExpression("1 / 0"), "ZeroDivisionError"),
        (Command("false"), "status 1"),
        (Command("no-such-command-here"), "not found"),
        (NotSubstitution("maybe"), "maybe"),
        (FileContent("/no/such/file"), "/no/such/file"),
    ],
)
def test_substitutions_that_fail_say_what(context, substitution, message):
    with pytest.raises(SubstitutionFailure, match=message):
        resolve(context, substitution)


def test_anonymous_names_are_stable_within_a_launch(context):
    assert resolve(context, AnonName("n")) == resolve(context, AnonName("n"))
    assert resolve(context, AnonName("n")) != resolve(context, AnonName("m"))


def test_conditions(context):
    assert IfCondition(LaunchConfiguration("flag")).evaluate(context)
    assert not UnlessCondition("True").evaluate(context)
    assert LaunchConfigurationEquals("word", "hello").evaluate(context)
    assert LaunchConfigurationEquals("missing", None).evaluate(context)
    with pytest.raises(InvalidConditionExpressionError, match="'hello'"):
        IfCondition(LaunchConfiguration("word")).evaluate(context)
    with pytest.raises(TypeError, match="IfCondition"):
        ExecuteProcess(cmd=["true"], condition=True)


def test_a_scoped_group_leaves_no_trace(context):
    visit(context, GroupAction([SetLaunchConfiguration("word", "inside"), SetEnvironmentVariable("INSIDE", "1")]))
    assert context.launch_configurations["word"] == "hello"
    assert "INSIDE" not in os.environ
    visit(context, GroupAction([SetLaunchConfiguration("word", "inside")], scoped=False))
    assert context.launch_configurations["word"] == "inside"


def test_a_group_without_forwarding_sees_only_what_it_is_given(context):
    seen = {}
    visit(
        context,
        GroupAction(
            [OpaqueFunction(function=lambda context: seen.update(context.launch_configurations))],
            forwarding=False,
            launch_configurations={"kept": LaunchConfiguration("word")},
        ),
    )
    assert seen == {"kept": "hello"}
    assert context.launch_configurations["number"] == "5"


def test_arguments(context):
    visit(context, DeclareLaunchArgument("number", default_value="7"), DeclareLaunchArgument("new", default_value="7"))
    assert context.launch_configurations["number"] == "5"
    assert context.launch_configurations["new"] == "7"
    with pytest.raises(RuntimeError, match=r"'required'.*not provided"):
        visit(context, DeclareLaunchArgument("required"))
    with pytest.raises(RuntimeError, match=r"'hello' is not valid.*\['a', 'b'\]"):
        visit(context, DeclareLaunchArgument("word", choices=["a", "b"]))
    with pytest.raises(RuntimeError, match="not in choices"):
        DeclareLaunchArgument("x", default_value="c", choices=["a", "b"])


def test_include_passes_arguments_and_knows_its_own_folder(context, tmp_path):
    (tmp_path / "inner.launch.py").write_text(
        "from launch import LaunchDescription\n"
        "from launch.actions import DeclareLaunchArgument, SetLaunchConfiguration\n"
        "from launch.substitutions import ThisLaunchFileDir, LaunchConfiguration\n"
        "def generate_launch_description():\n"
        "    return LaunchDescription([\n"
        "        DeclareLaunchArgument('needed'),\n"
        "        SetLaunchConfiguration('seen', [ThisLaunchFileDir(), ' ', LaunchConfiguration('needed')]),\n"
        "    ])\n"
    )
    source = PythonLaunchDescriptionSource([str(tmp_path), "/inner.launch.py"])
    with pytest.raises(RuntimeError, match="missing required argument 'needed'"):
        visit(context, IncludeLaunchDescription(source))
    visit(context, IncludeLaunchDescription(source, launch_arguments={"needed": "given"}.items()))
    assert context.launch_configurations["seen"] == f"{tmp_path} given"
    with pytest.raises(AttributeError):
        _ = context.locals.current_launch_file_directory
    outer = launch.LaunchDescription([IncludeLaunchDescription(source, condition=IfCondition("true"))])
    (argument,) = outer.get_launch_arguments()
    assert argument.name == "needed" and argument._conditionally_included


def test_launch_files_that_cannot_be_used(tmp_path, context):
    empty = tmp_path / "empty.launch.py"
    empty.write_text("")
    with pytest.raises(launch.InvalidLaunchFileError, match="generate_launch_description"):
        visit(context, IncludeLaunchDescription(PythonLaunchDescriptionSource(str(empty))))
    xml = tmp_path / "file.launch.xml"
    xml.write_text("<launch/>")
    with pytest.raises(NotImplementedError, match="XML"):
        visit(context, IncludeLaunchDescription(str(xml)))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        visit(context, IncludeLaunchDescription("/nowhere.launch.py"))


def ros_arguments(context, node):
    command = node.command(context)
    return command[command.index("--ros-args") + 1 :]


def parameter_files(context, node):
    arguments = ros_arguments(context, node)
    paths = [arguments[i + 1] for i, word in enumerate(arguments) if word == "--params-file"]
    return [yaml.safe_load(open(path).read()) for path in paths]


def test_node_command_line(context, tmp_path):
    node = Node(
        executable="/bin/echo",
        name="talker",
        namespace="below",
        arguments=["--fast", LaunchConfiguration("number")],
        remappings=[("in", LaunchConfiguration("word"))],
        ros_arguments=["--log-level", "debug"],
    )
    visit(context, PushRosNamespace("robot"), PushRosNamespace("arm"), SetRemap("a", "b"))
    assert node.command(context) == [
        "/bin/echo",
        "--fast",
        "5",
        "--ros-args",
        "--log-level",
        "debug",
        "-r",
        "__node:=talker",
        "-r",
        "__ns:=/robot/arm/below",
        "-r",
        "a:=b",
        "-r",
        "in:=hello",
    ]
    assert node.node_name == "/robot/arm/below/talker"
    absolute = Node(executable="x", namespace="/elsewhere")
    assert ros_arguments(context, absolute)[:2] == ["-r", "__ns:=/elsewhere"]


def test_node_without_names_gets_none(context):
    assert Node(executable="x").command(context) == ["x", "--ros-args"]


@pytest.mark.parametrize("bad", [{"name": "9lives"}, {"name": "a/b"}, {"namespace": "a b"}])
def test_bad_node_names(context, bad):
    with pytest.raises(ValueError, match="invalid"):
        Node(executable="x", **bad).command(context)


def test_node_parameters(context, tmp_path):
    path = tmp_path / "parameters.yaml"
    path.write_text("/**:\n  ros__parameters:\n    from_file: 1\n")
    node = Node(
        executable="x",
        name="n",
        parameters=[
            path,
            {
                "text": "5",
                "number": LaunchConfiguration("number"),
                "flag": LaunchConfiguration("flag"),
                "kept": ParameterValue(LaunchConfiguration("number"), value_type=str),
                "rate": ParameterValue(LaunchConfiguration("number"), value_type=float),
                "names": ParameterValue(LaunchConfiguration("names"), value_type=list[str]),
                "mixed": [1, 2.5],
                "flags": [True, False],
                "joined": ["a-", LaunchConfiguration("word")],
                "list_of_texts": [[LaunchConfiguration("word")], ["x"]],
                "nested": {"deep": {"value": 1}},
            },
            Parameter("single", LaunchConfiguration("number")),
        ],
    )
    from_file, from_dict = parameter_files(context, node)
    assert from_file == {"/**": {"ros__parameters": {"from_file": 1}}}
    assert from_dict == {
        "/**": {
            "ros__parameters": {
                "text": "5",
                "number": 5,
                "flag": True,
                "kept": "5",
                "rate": 5.0,
                "names": ["a", "b"],
                "mixed": [1.0, 2.5],
                "flags": [True, False],
                "joined": "a-hello",
                "list_of_texts": ["hello", "x"],
                "nested.deep.value": 1,
            }
        }
    }
    assert "single:=5" in ros_arguments(context, node)


def test_a_fully_named_node_gets_parameters_under_its_name(context):
    node = Node(executable="x", name="n", namespace="/ns", parameters=[{"a": 1}])
    assert parameter_files(context, node) == [{"/ns/n": {"ros__parameters": {"a": 1}}}]


def test_set_parameter_reaches_the_nodes_of_its_group(context):
    inside, outside = Node(executable="x"), Node(executable="y")
    commands = {}
    visit(
        context,
        GroupAction(
            [
                SetParameter("use_sim_time", True),
                SetParameter("text", "5"),
                OpaqueFunction(function=lambda context: commands.update(inside=inside.command(context))),
            ]
        ),
    )
    commands["outside"] = outside.command(context)
    assert commands["inside"][2:] == ["-p", "use_sim_time:=true", "-p", "text:='5'"]
    assert commands["outside"] == ["y", "--ros-args"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"p": []}, "empty list"),
        ({"p": [1, "a"]}, "one type"),
        ({"p": object()}, "'p'"),
        ({"p": ParameterValue(LaunchConfiguration("word"), value_type=int)}, "'p'.*'hello'.*int"),
        ({"p": LaunchConfiguration("brackets")}, "'p'.*neither"),
    ],
)
def test_bad_parameters_are_named(context, parameters, message):
    context.launch_configurations["brackets"] = "{a: 1}"
    with pytest.raises((TypeError, ValueError), match=message):
        Node(executable="x", parameters=[parameters]).command(context)


def test_parameter_files_are_checked(context, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        Node(executable="x", parameters=["/missing.yaml"]).command(context)
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        Node(executable="x", parameters=[str(broken)]).command(context)


def test_substitutions_in_parameter_files(context, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        "/**:\n  ros__parameters:\n    n: $(var number)\n    e: $(env NO_SUCH_VARIABLE fallback)\n"
        "    s: $(eval '$(var number) + 1')\n    c: $(command 'echo -n hi')\n"
    )
    node = Node(executable="x", parameters=[ParameterFile(str(path), allow_substs=True)])
    assert parameter_files(context, node) == [
        {"/**": {"ros__parameters": {"n": 5, "e": "fallback", "s": 6, "c": "hi"}}}
    ]
    path.write_text("a: $(unheard of)")
    with pytest.raises(SubstitutionFailure, match="unheard"):
        Node(executable="x", parameters=[ParameterFile(str(path), allow_substs=True)]).command(context)


@pytest.mark.parametrize(
    ("value", "value_type"), [(1, float), ("5", int), ("[1]", list[int]), ([1], int), (None, None)]
)
def test_plain_values_are_not_converted(value, value_type):
    with pytest.raises(TypeError, match="value"):
        ParameterValue(value, value_type=value_type)


def test_wrong_use_is_refused_where_it_is_written():
    with pytest.raises(TypeError, match="must be a list"):
        Node(executable="x", parameters={"a": 1})
    with pytest.raises(TypeError, match="'node_name'"):
        Node(executable="x", node_name="n")
    with pytest.raises(TypeError, match="cmd must be a list"):
        ExecuteProcess(cmd="echo hello")
    with pytest.raises(TypeError, match="expected a launch action"):
        launch.LaunchDescription(["not an action"])
    with pytest.raises(TypeError, match="got the str"):
        Node(executable="x", arguments="--fast")


def test_what_is_not_covered_says_so():
    for module, name in (
        (launch.actions, "ForLoop"),
        (launch_ros.actions, "ComposableNodeContainer"),
        (launch, "frontend"),
    ):
        with pytest.raises(NotImplementedError, match=name):
            getattr(module, name)
    with pytest.raises(ImportError):
        from rclpy_dds.launch.actions import NoSuchThing  # noqa: F401


def test_the_tree_shows_conditions_and_contents():
    description = launch.LaunchDescription(
        [
            DeclareLaunchArgument("a"),
            GroupAction([Node(package="p", executable="e", name="n")], condition=IfCondition(LaunchConfiguration("a"))),
            TimerAction(period=1.0, actions=[ExecuteProcess(cmd=["ls", FindPackageShare("p")])]),
        ]
    )
    assert launch.LaunchIntrospector().format_launch_description(description).splitlines() == [
        "LaunchDescription",
        "├── DeclareLaunchArgument('a')",
        "├── GroupAction  when IfCondition(LaunchConfig('a'))",
        "│   └── Node(package='p', executable='e', name='n')",
        "└── TimerAction(period=1.0)",
        "    └── ExecuteProcess(cmd=['ls', FindPackageShare(pkg='p')], shell=False)",
    ]
