"""The programs of this package, by the names under which they are installed."""

from magma_common.process.program import program_of

main = program_of(
    {
        "policy": "magma_policy_ros.policy_node",
    }
)
