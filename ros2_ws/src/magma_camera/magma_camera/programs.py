"""The programs of this package, by the names under which they are installed."""

from magma_common.process.program import program_of

main = program_of(
    {
        "camera_subscriber": "magma_camera.camera_subscriber",
        "camera_source": "magma_camera.camera_source",
    }
)
