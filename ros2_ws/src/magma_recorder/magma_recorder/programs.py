"""The programs of this package, by the names under which they are installed."""

from magma_common.process.program import program_of

main = program_of(
    {
        "recorder": "magma_recorder.recorder_node",
        "foxglove_server": "magma_recorder.foxglove_node",
        "magma-recording": "magma_recorder.recording_command",
        "magma-replay": "magma_recorder.replay_command",
        "magma-export": "magma_recorder.export_command",
    }
)
