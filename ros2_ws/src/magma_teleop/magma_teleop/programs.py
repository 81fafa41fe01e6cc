"""The programs of this package, by the names under which they are installed."""

from magma_common.process.program import program_of

main = program_of(
    {
        "keyboard_teleop": "magma_teleop.keyboard_teleop_node",
        "joy_teleop": "magma_teleop.joy_teleop_node",
        "leader_teleop": "magma_teleop.leader_teleop_node",
    }
)
