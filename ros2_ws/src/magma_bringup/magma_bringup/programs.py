"""The programs of this package, by the names under which they are installed."""

from magma_common.process.program import program_of

main = program_of(
    {
        "episode_runner": "magma_bringup.episode_runner",
        "instruction_keeper": "magma_bringup.instruction_keeper",
        "live_view": "magma_bringup.live_view",
        "task_server": "magma_bringup.task_server",
        "demo": "magma_bringup.demo",
    }
)
