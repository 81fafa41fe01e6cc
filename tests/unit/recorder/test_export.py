"""Recordings become demonstrations that magma-train reads."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from magma_interfaces.msg import ControllerState, EpisodeStatus
from rclpy.serialization import deserialize_message, serialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from magma_common.conversions import delta_to_msg, image_to_msg, ns_to_stamp, state_to_msg
from magma_contracts.arm_state import EndEffectorState
from magma_data.demonstrations import read_episode, read_frames
from magma_data.reader import Dataset
from magma_policy.demonstrations.reader import read_demonstrations
from magma_recorder import export_command, topics
from magma_recorder.definitions import schema_of
from magma_recorder.recording_command import describe
from magma_recorder.recordings.image_compression import compress
from magma_recorder.recordings.mcap_file import McapFile
from magma_recorder.recordings.recording import RecordingError
from magma_sim_ros import messages

STEP_NS = 200_000_000
START_NS = 1_700_000_000 * 10**9
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
OPTICAL = Rotation.from_matrix(np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]]))


class Maker:
    """Writes a recording message by message."""

    def __init__(self, path, namespace=""):
        self.namespace = namespace
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = McapFile(path)
        self.channels = {}
        self.now_ns = START_NS
        self.damaged_steps = ()

    def say(self, topic, type_name, data):
        topic = topic if topic in topics.GLOBAL else self.namespace + topic
        if topic not in self.channels:
            self.channels[topic] = self.file.add_channel(topic, type_name, schema_of(type_name), {})
        data = data if isinstance(data, bytes) else serialize_message(data)
        self.file.add_message(self.channels[topic], self.now_ns, self.now_ns, 1, data)

    def frame(self, name):
        """As /tf calls it."""
        return f"{self.namespace}/{name}".lstrip("/")

    def camera(self):
        k = [300.0, 0.0, 128.0, 0.0, 300.0, 128.0, 0.0, 0.0, 1.0]
        transform = TransformStamped(child_frame_id=self.frame("camera_optical"))
        transform.header.frame_id = self.frame("base")
        x, y, z, w = OPTICAL.as_quat()
        rotation = transform.transform.rotation
        rotation.x, rotation.y, rotation.z, rotation.w = float(x), float(y), float(z), float(w)
        transform.transform.translation.x = 1.5
        info = CameraInfo(width=256, height=256, k=k)
        info.header.frame_id = transform.child_frame_id
        self.says_of_camera(info, transform)

    def says_of_camera(self, info, transform):
        self.say(topics.CAMERA_INFO, "sensor_msgs/msg/CameraInfo", info)
        self.say(topics.TRANSFORMS_STATIC, "tf2_msgs/msg/TFMessage", TFMessage(transforms=[transform]))

    def object(self, name, position, quaternion_xyzw, seen_from="base"):
        transform = TransformStamped(child_frame_id=self.frame(name))
        transform.header.frame_id = self.frame(seen_from)
        transform.header.stamp = ns_to_stamp(self.now_ns)
        place, rotation = transform.transform.translation, transform.transform.rotation
        place.x, place.y, place.z = position
        rotation.x, rotation.y, rotation.z, rotation.w = (float(v) for v in quaternion_xyzw)
        self.say(topics.TRANSFORMS, "tf2_msgs/msg/TFMessage", TFMessage(transforms=[transform]))

    def episode(self, layout, steps, operated=(), objects=False, instruction="put the carrot on the plate"):
        """The policy acts; in the steps named the operator does."""
        self.say(topics.INSTRUCTION, "std_msgs/msg/String", String(data=instruction))
        teleop = False
        for step in range(steps):
            status = EpisodeStatus(task="carrot", variant="eval", layout=layout, step=step, success=step == steps - 1)
            self.say(topics.EPISODE_STATUS, "magma_interfaces/msg/EpisodeStatus", status)
            if objects:
                self.object("carrot", (0.5, 0.01 * step, 0.1), Rotation.from_euler("z", 90, degrees=True).as_quat())
            position = np.array([0.5, 0.01 * step, 0.2])
            state = EndEffectorState(self.now_ns, position, DOWN, position, DOWN, 1.0, 0.5)
            self.say(topics.END_EFFECTOR_STATE, "magma_interfaces/msg/EndEffectorState", state_to_msg(state))
            picture = np.full((128, 128, 3), 10 * layout + step, np.uint8)
            image = serialize_message(image_to_msg(picture, self.now_ns))
            compressed = compress(image, "png", 90)
            if step in self.damaged_steps:
                message = deserialize_message(compressed, CompressedImage)
                message.data = message.data[: len(message.data) // 2]
                compressed = serialize_message(message)
            self.say(topics.FRAME + "/compressed", "sensor_msgs/msg/CompressedImage", compressed)
            operator = step in operated
            if operator != teleop:
                teleop = operator
                report = ControllerState(phase=ControllerState.TELEOP if operator else ControllerState.HOLD)
                self.say(topics.CONTROLLER_STATE, "magma_interfaces/msg/ControllerState", report)
            values = (0.0, 0.02 if operator else 0.01, 0.0, 0.0, 0.0, 0.1, 1.0)
            stamp_ns = self.now_ns + (50_000_000 if operator else 0)
            command = delta_to_msg(values, stamp_ns, source="gamepad" if operator else "magma-tiny")
            if operator:
                self.say(topics.TELEOP_COMMAND, "magma_interfaces/msg/EndEffectorDelta", command)
            self.say(topics.COMMAND, "magma_interfaces/msg/EndEffectorDelta", command)
            self.now_ns += STEP_NS


@pytest.fixture
def recording(tmp_path):
    maker = Maker(tmp_path / "bag" / "bag_0.mcap")
    maker.camera()
    maker.episode(0, 12, operated=(8, 9, 10))
    maker.episode(1, 6)
    maker.episode(2, 5, operated=(0, 1, 2, 3, 4))
    maker.file.finish()
    return tmp_path / "bag"


def load(out):
    dataset = Dataset(out)
    return {
        episode.name: {**read_episode(dataset, episode), "frames": read_frames(dataset, episode)}
        for episode in sorted(dataset.episodes, key=lambda episode: episode.name)
    }


def test_the_operators_steps_become_demonstrations_that_training_reads(recording, tmp_path, capsys):
    out = tmp_path / "corrections"
    assert export_command.main([str(recording), "--out", str(out), "--robot", "panda"]) == 0
    assert "2 episodes, 8 steps, of which 8 the operator's" in capsys.readouterr().out
    first, second = load(out).values()
    np.testing.assert_array_equal(first["actions"][:, 1], np.float32(0.02))
    np.testing.assert_array_equal(first["frames"][:, 0, 0, 0], [8, 9, 10])
    np.testing.assert_allclose(first["proprioception"][:, 1], [0.08, 0.09, 0.10], atol=1e-6)
    assert first["operator"].all() and (first["intervention"] == 0).all() and (second["intervention"] == 1).all()
    assert (first["weights"] == 1.0).all() and bool(first["success"]) and len(second["actions"]) == 5
    demonstrations = read_demonstrations([out])
    assert len(demonstrations) == 8 and demonstrations.instructions == ("put the carrot on the plate",)
    assert demonstrations.cards[0].robot == "panda"
    np.testing.assert_allclose(demonstrations.cards[0].intrinsics, [[150, 0, 64.25], [0, 150, 64.25], [0, 0, 1]])


def test_the_tool_is_marked_where_the_camera_sees_it(recording, tmp_path):
    out = tmp_path / "corrections"
    export_command.main([str(recording), "--out", str(out)])
    first, _ = load(out).values()
    # The camera looks along -x from 1.5 m: the tool at (0.5, 0.08, 0.2) is 1 m away, 80 mm right and 200 mm above.
    np.testing.assert_allclose(first["marks"][0, 3], [64.25 + 150 * 0.08, 64.25 - 150 * 0.2], atol=1e-3)
    assert np.isnan(first["marks"][:, :3]).all()
    card = json.loads((out / "meta" / "magma.json").read_text())
    assert card["counts"]["operator_steps"] == 8


def test_the_simulators_camera_is_the_one_of_its_demonstrations(tmp_path):
    """So that both train together: ROS and demonstrations do not count pixels from the same place."""
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = OPTICAL.as_matrix().T
    extrinsics[:3, 3] = 0.1, -0.2, 1.3
    spec = SimpleNamespace(
        camera_intrinsics=np.array([[186.8, 0, 64], [0, 186.8, 60], [0, 0, 1]]),
        camera_extrinsics=extrinsics,
        image_height=128,
        image_width=128,
        frame="base",
    )
    maker = Maker(tmp_path / "simulated" / "s_0.mcap")
    maker.says_of_camera(messages.camera_info(spec, Time()), messages.camera_transform(spec, Time()))
    maker.episode(0, 6, operated=(1, 2, 3))
    maker.file.finish()
    assert export_command.main([str(tmp_path / "simulated"), "--out", str(tmp_path / "out")]) == 0
    card = read_demonstrations([tmp_path / "out"]).cards[0]
    np.testing.assert_allclose(card.intrinsics, spec.camera_intrinsics, atol=1e-6)
    np.testing.assert_allclose(card.extrinsics, extrinsics, atol=1e-6)


def test_objects_are_marked_where_tf_says_that_they_are(tmp_path):
    points = tmp_path / "points.yaml"
    points.write_text(
        "put the carrot on the plate:\n"
        "  source_centre: {frame: carrot}\n  source_tip: {frame: carrot, at: [0.1, 0, 0]}\n"
        "  target_rest_point: {frame: plate}\n"
    )
    maker = Maker(tmp_path / "seen" / "s_0.mcap")
    maker.camera()
    maker.episode(0, 6, operated=(2, 3), objects=True)
    maker.file.finish()
    out = tmp_path / "out"
    assert export_command.main([str(tmp_path / "seen"), "--out", str(out), "--marked-points", str(points)]) == 0
    (arrays,) = load(out).values()
    np.testing.assert_allclose(arrays["points"][:, 0], [[0.5, 0.02, 0.1], [0.5, 0.03, 0.1]], atol=1e-6)
    # A quarter turn: the frame's x axis is the base's y axis.
    np.testing.assert_allclose(arrays["points"][:, 1], [[0.5, 0.12, 0.1], [0.5, 0.13, 0.1]], atol=1e-6)
    assert np.isnan(arrays["points"][:, 2]).all()
    np.testing.assert_allclose(arrays["marks"][0, 0], [64.25 + 150 * 0.02, 64.25 - 150 * 0.1], atol=1e-3)
    assert len(read_demonstrations([out])) == 2


def link(parent, child, quaternion_xyzw=(0.0, 0.0, 0.0, 1.0), translation=(0.0, 0.0, 0.0)):
    transform = TransformStamped(child_frame_id=child)
    transform.header.frame_id = parent
    place, rotation = transform.transform.translation, transform.transform.rotation
    place.x, place.y, place.z = translation
    rotation.x, rotation.y, rotation.z, rotation.w = (float(value) for value in quaternion_xyzw)
    return transform


def info(frame=""):
    message = CameraInfo(width=256, height=256, k=[300.0, 0.0, 128.0, 0.0, 300.0, 128.0, 0.0, 0.0, 1.0])
    message.header.frame_id = frame
    return message


def test_the_cameras_place_is_read_through_the_whole_tree_of_frames(tmp_path):
    """As a driver and a calibration publish it: base, mount, camera, optical frame; under names of their own."""
    simple, chained = Maker(tmp_path / "simple" / "s_0.mcap"), Maker(tmp_path / "chained" / "c_0.mcap")
    simple.says_of_camera(info(), link("base", "camera_optical", OPTICAL.as_quat(), (1.5, 0.1, 0.4)))
    chained.says_of_camera(info("cam_color_optical"), link("cam_link", "cam_color_optical", OPTICAL.as_quat()))
    turned = Rotation.from_euler("z", 30, degrees=True)
    offset = turned.inv().apply([1.0, 0.1, 0.4])
    chained.says_of_camera(info("cam_color_optical"), link("mount", "cam_link", turned.inv().as_quat(), offset))
    chained.says_of_camera(info("cam_color_optical"), link("base", "mount", turned.as_quat(), (0.5, 0.0, 0.0)))
    for maker in (simple, chained):
        maker.episode(0, 4, operated=(1, 2))
        maker.file.finish()
        name = maker.file.path.parent.name
        assert export_command.main([str(tmp_path / name), "--out", str(tmp_path / f"out_{name}")]) == 0
    cards = [
        json.loads((tmp_path / f"out_{name}" / "meta" / "magma.json").read_text()) for name in ("simple", "chained")
    ]
    places = [np.array(card["camera_extrinsics_base_to_optical"]) for card in cards]
    np.testing.assert_allclose(places[1], places[0], atol=1e-9)


def test_a_tag_that_the_camera_sees_is_marked_in_the_base_frame(tmp_path, capsys):
    points = tmp_path / "points.yaml"
    points.write_text("put the carrot on the plate:\n  source_centre: {frame: tag}\n  source_tip: {frame: lost}\n")
    maker = Maker(tmp_path / "seen" / "s_0.mcap")
    maker.camera()
    maker.object("tag", (0.1, 0.2, 0.9), (0, 0, 0, 1), seen_from="camera_optical")
    maker.episode(0, 3, operated=(1, 2))
    maker.file.finish()
    out = tmp_path / "out"
    assert export_command.main([str(tmp_path / "seen"), "--out", str(out), "--marked-points", str(points)]) == 0
    (arrays,) = load(out).values()
    expected = np.array([1.5, 0.0, 0.0]) + OPTICAL.apply([0.1, 0.2, 0.9])
    np.testing.assert_allclose(arrays["points"][:, 0], [expected, expected], atol=1e-6)
    assert np.isnan(arrays["points"][:, 1]).all()
    assert "3 times marks unknown: /tf says no way from 'base' to 'lost'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("links", "complaint"),
    [
        ([link("mount", "camera_optical", OPTICAL.as_quat())], "no way from 'base' to 'camera_optical'"),
        ([link("base", "camera_optical", (0.7, 0.7, -0.7, -0.7))], "norm of its quaternion is 1.400"),
        (
            [link("base", "camera_optical", OPTICAL.as_quat()), link("base", "camera_optical", (0, 0, 0, 1))],
            "while it recorded",
        ),
    ],
)
def test_a_camera_whose_place_is_not_known_teaches_nothing_wrong(links, complaint, tmp_path, capsys):
    maker = Maker(tmp_path / "bag" / "bag_0.mcap")
    for number, item in enumerate(links):
        maker.says_of_camera(info(), item)
        maker.episode(number, 4, operated=(1, 2))
    maker.file.finish()
    assert export_command.main([str(tmp_path / "bag"), "--out", str(tmp_path / "none")]) == 1
    assert complaint in capsys.readouterr().err and not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "expected instructions"),
        ("go: [", "not valid YAML"),
        ("go: carrot", "'go': expected points"),
        ("go: {sauce: {frame: carrot}}", "unknown points sauce; there are source_centre"),
        ("go: {source_tip: carrot}", "'go': source_tip: expected {frame: NAME"),
        ("go: {source_tip: {frame: carrot, at: [1, 2]}}", "three numbers in metres"),
        ("go: {source_tip: {frame: carrot, at: [1, 2, .nan]}}", "finite"),
    ],
)
def test_marked_points_that_make_no_sense_are_refused(text, complaint, recording, tmp_path, capsys):
    file = tmp_path / "points.yaml"
    file.write_text(text)
    command = [str(recording), "--out", str(tmp_path / "none"), "--marked-points", str(file)]
    assert export_command.main(command) == 1
    assert complaint in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_the_policys_steps_count_what_is_asked_and_nothing_just_before_a_take_over(recording, tmp_path):
    out = tmp_path / "all"
    export_command.main(
        [
            str(recording),
            "--out",
            str(out),
            "--policy-weight",
            "0.5",
            "--operator-weight",
            "2",
            "--before-takeover-s",
            "1",
        ]
    )
    first, second, third = load(out).values()
    # Step 8 is the operator's, 50 ms after its frame: of the steps before, 4 to 7 lie within one second.
    np.testing.assert_array_equal(first["frames"][:, 0, 0, 0], [0, 1, 2, 3, 8, 9, 10, 11])
    np.testing.assert_array_equal(first["weights"], [0.5, 0.5, 0.5, 0.5, 2, 2, 2, 0.5])
    assert not second["operator"].any() and len(second["actions"]) == 6 and len(third["actions"]) == 5


def test_steps_without_an_instruction_are_counted_and_left_out(tmp_path, capsys):
    maker = Maker(tmp_path / "bag" / "bag_0.mcap")
    maker.camera()
    maker.episode(0, 4, operated=(1, 2, 3), instruction="")
    maker.file.finish()
    command = [str(tmp_path / "bag"), "--out", str(tmp_path / "out")]
    assert export_command.main(command) == 1
    assert "no instruction was in force during any of 3 steps" in capsys.readouterr().err
    other = Maker(tmp_path / "other" / "bag_0.mcap")
    other.camera()
    other.episode(1, 4, operated=(1, 2, 3))
    other.file.finish()
    assert export_command.main([str(tmp_path / "other"), *command]) == 0
    assert "3 steps no instruction" in capsys.readouterr().out
    assert read_demonstrations([tmp_path / "out"]).instructions == ("put the carrot on the plate",)


def test_a_damaged_picture_teaches_nothing(tmp_path, capsys):
    maker = Maker(tmp_path / "bag" / "bag_0.mcap")
    maker.camera()
    maker.damaged_steps = (2,)
    maker.episode(0, 5, operated=(1, 2, 3))
    maker.file.finish()
    assert export_command.main([str(tmp_path / "bag"), "--out", str(tmp_path / "out")]) == 0
    assert "2 the operator's" in (said := capsys.readouterr().out) and "1 a damaged one" in said


def test_what_cannot_be_exported_is_said(tmp_path, recording, capsys):
    maker = Maker(tmp_path / "autonomous" / "a_0.mcap")
    maker.camera()
    maker.episode(0, 5)
    maker.file.finish()
    assert export_command.main([str(tmp_path / "autonomous"), "--out", str(tmp_path / "none")]) == 1
    assert "no operator had the arm" in capsys.readouterr().err
    blind = Maker(tmp_path / "blind" / "b_0.mcap")
    blind.episode(0, 5, operated=(1, 2, 3))
    blind.file.finish()
    assert export_command.main([str(tmp_path / "blind"), "--out", str(tmp_path / "none")]) == 1
    assert "has to know the camera" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    with pytest.raises(RecordingError):
        export_command.export([tmp_path / "nowhere"], tmp_path / "x", export_command.ExportOptions())


MARKED = """\
put the carrot on the plate:
  source_centre: {frame: carrot}
"""


def exported(recording, out, *arguments):
    points = out.with_suffix(".yaml")
    points.write_text(MARKED)
    assert export_command.main([str(recording), "--out", str(out), "--marked-points", str(points), *arguments]) == 0
    return load(out)


def equal(one, other):
    return all(
        np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f")
        for a, b in zip(one.values(), other.values(), strict=True)
        for name in a
    )


def test_a_robot_in_a_namespace_exports_as_one_in_none(tmp_path):
    found = []
    for number, namespace in enumerate(("", "/cell/left")):
        maker = Maker(tmp_path / f"{number}" / "bag_0.mcap", namespace)
        maker.camera()
        maker.episode(0, 12, operated=(8, 9, 10), objects=True)
        maker.file.finish()
        found.append(exported(tmp_path / f"{number}", tmp_path / f"out_{number}"))
    assert len(found[0]) == 1 and equal(*found)
    (episode,) = found[1].values()
    assert np.isfinite(episode["marks"][:, 0]).all()


def test_of_two_robots_in_a_recording_one_has_to_be_chosen(tmp_path, capsys):
    alone = {}
    both = Maker(tmp_path / "both" / "both_0.mcap")
    for layout, namespace in enumerate(("/left", "/right")):
        for maker in (both, Maker(tmp_path / namespace[1:] / "both_0.mcap")):
            maker.namespace, maker.now_ns = namespace, START_NS + layout
            maker.camera()
            maker.episode(layout, 12, operated=(3, 4, 5 + layout), objects=True)
        maker.file.finish()
        alone[namespace] = exported(tmp_path / namespace[1:], tmp_path / f"alone_{layout}")
    both.file.finish()
    assert export_command.main([str(tmp_path / "both"), "--out", str(tmp_path / "none")]) == 1
    said = capsys.readouterr().err
    assert "holds several robots, in the namespaces /left and /right: choose one with --namespace" in said
    for namespace, expected in alone.items():
        found = exported(tmp_path / "both", tmp_path / f"of{namespace[1:]}", "--namespace", namespace)
        assert len(found) == 1 and equal(found, expected)
    assert export_command.main([str(tmp_path / "both"), "--out", str(tmp_path / "none"), "--namespace", "up"]) == 1
    assert "holds nothing of a robot in the namespace /up, but of /left and /right" in capsys.readouterr().err
    text = describe(tmp_path / "both")
    assert "1 interventions of /left" in text and "2 interventions of /right" in text
    assert "/left/magma/command" in text and "/right/magma/command" in text


@pytest.mark.parametrize(
    ("name", "known", "namespace"),
    [
        ("/magma/command", "/magma/command", ""),
        ("/left/magma/command", "/magma/command", "/left"),
        ("/cell/left/camera/image_raw/compressed", "/camera/image_raw/compressed", "/cell/left"),
        ("/tf", "/tf", ""),
        ("/left/tf", None, None),
        ("/magma/commands", None, None),
        ("/my/own", None, None),
    ],
)
def test_recorded_names_tell_topic_and_robot(name, known, namespace):
    found = topics.recorded_name(name)
    assert (found and found.known, found and found.namespace) == (known, namespace)
