"""The `main` of every node: start, spin, and end with a clear message and status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from magma_common.process.hangup import survive_hangup
from magma_common.process.interrupts import Interrupts
from magma_common.process.program import cannot_start
from magma_common.process.service_guard import refuse_wrong_requests
from magma_common.process.sim_time import watch_sim_time
from magma_contracts.errors import ConfigError

EXIT_CONFIGURATION = 2
"""Exit status when a parameter is unknown or not allowed, as command line tools use it for wrong usage."""

EXIT_IMPORT = 1
"""Exit status when a library that a node needs is missing."""


def run_node(
    make_node: Callable[[], Node],
    args: Sequence[str] | None = None,
    make_executor: Callable[[], Executor] = SingleThreadedExecutor,
) -> int:
    """Runs a node until it is interrupted (SIGINT, SIGTERM, SIGHUP) or ROS shuts down.

    Args:
        make_node: makes the node once rclpy is initialised. If the node has a method `close`, it is called at the end,
            before the node is destroyed, while ROS still works.
        args: command line; None takes that of the process.
        make_executor: makes what calls the node's callbacks; one thread, unless a callback of it has to wait.

    Returns:
        The exit status: 0, 1 when a library is missing, or 2 after a configuration error; both are printed, not raised.
    """
    survive_hangup()
    interrupts = Interrupts()
    node: Node | None = None
    try:
        try:
            rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        except Exception as error:
            # Whatever its type: it comes from what the person gave, the arguments, parameter files or ROS_* variables.
            print(f"cannot start: {error}", file=sys.stderr)
            return EXIT_CONFIGURATION
        node = make_node()
        refuse_wrong_requests(node)
        watch_sim_time(node)
        executor = make_executor()
        executor.add_node(node)
        told_to_end: Future = Future()
        interrupts.stop_with(lambda: told_to_end.set_result(None))
        executor.spin_until_future_complete(told_to_end)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIGURATION
    except ImportError as error:
        print(cannot_start(error), file=sys.stderr)
        return EXIT_IMPORT
    except ValueError as error:
        # What stock rclpy says of a parameter given as [] before the node can look at it; it does not say of which.
        if "PARAMETER_NOT_SET" not in str(error):
            raise
        print(
            "cannot start: a parameter was given as an empty list, of no type in ROS 2: leave it out", file=sys.stderr
        )
        return EXIT_CONFIGURATION
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # ROS was ended while the node was being made or in a callback: what fails then fails for that reason.
        if rclpy.ok():
            raise
    finally:
        interrupts.end()
        if node is not None:
            if hasattr(node, "close"):
                node.close()
            node.destroy_node()
        rclpy.try_shutdown()
        interrupts.close()
    return 0


def end_process(status: int) -> NoReturn:
    """Ends the process at once, after `run_node`, in a program that has loaded a large library (torch, SAPIEN).

    Taking such libraries down piece by piece takes seconds on a busy machine, longer than Ctrl-C may; and torch aborts
    the process when a thread is inside a model. Nothing is left to save.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
