"""The action /magma/execute_task against a simulator that is played by the test."""

from magma_interfaces.action import ExecuteTask
from magma_interfaces.msg import EpisodeStatus, Instruction
from magma_interfaces.srv import Instruct
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor

from magma_common import qos
from magma_common.instruction_topics import ASK_SERVICE, IN_FORCE_TOPIC


def wait(executor, future, seconds=60.0):
    executor.spin_until_future_complete(future, timeout_sec=seconds)
    assert future.done(), "no answer"
    return future.result()


def test_a_task_is_given_watched_and_taken_away(ros_domain, start_node):
    import rclpy

    start_node("magma_bringup.instruction_keeper", {"instruction": "none"})
    server = start_node("magma_bringup.task_server", {"hold_steps": 2})
    rclpy.init()
    node = rclpy.create_node("asker")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    heard, feedback = [], []
    node.create_subscription(Instruction, IN_FORCE_TOPIC, lambda message: heard.append(message.instruction), qos.STATE)
    world = node.create_publisher(EpisodeStatus, "/magma/episode_status", qos.STATE)
    step = [0]

    def publish(success):
        world.publish(EpisodeStatus(task="t", step=step[0], max_steps=60, success=success, instruction="do it"))

    def advance():
        if heard and heard[-1] == "do it":
            step[0] += 1
            publish(step[0] >= 3)

    try:
        publish(False)
        client = ActionClient(node, ExecuteTask, "/magma/execute_task")
        assert client.wait_for_server(timeout_sec=60.0), server.output
        timer = node.create_timer(0.1, advance)
        while True:  # until the server knows of the simulator
            goal = wait(
                executor,
                client.send_goal_async(
                    ExecuteTask.Goal(), feedback_callback=lambda m: feedback.append(m.feedback.step)
                ),
            )
            if goal.accepted:
                break
        refused = wait(executor, client.send_goal_async(ExecuteTask.Goal(instruction="another")))
        assert not refused.accepted, "one task at a time"
        result = wait(executor, goal.get_result_async()).result
        assert result.success and result.steps == 4 and "2 steps in a row" in result.reason
        assert feedback and feedback == sorted(feedback)
        node.destroy_timer(timer)
        # A task that is cancelled.
        goal = wait(executor, client.send_goal_async(ExecuteTask.Goal(instruction="dance")))
        assert goal.accepted
        wait(executor, goal.cancel_goal_async())
        result = wait(executor, goal.get_result_async()).result
        assert not result.success and result.reason == "cancelled"
        assert heard[-1] == "", "nobody acts any more"
        # Somebody else has another wish: it ends the task and is not taken away with it.
        goal = wait(executor, client.send_goal_async(ExecuteTask.Goal(instruction="dance")))
        instruct = node.create_client(Instruct, ASK_SERVICE)
        while heard[-1] != "dance":
            executor.spin_once(timeout_sec=0.1)
        request = Instruct.Request(instruction="sing", asked_by="somebody")
        assert wait(executor, instruct.call_async(request)).accepted
        result = wait(executor, goal.get_result_async()).result
        assert not result.success and result.reason == "another instruction was given: 'sing', by somebody"
        assert heard[-1] == "sing"
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
