"""The programs of this package, by the names under which they are installed."""

from magma_common.process.program import program_of

main = program_of(
    {
        "simulator": "magma_sim_ros.simulator_node",
        "joint_simulator": "magma_sim_ros.joint_simulator_node",
        "scripted_policy": "magma_sim_ros.scripted_policy_node",
        "scripted_operator": "magma_sim_ros.scripted_operator_node",
    }
)
