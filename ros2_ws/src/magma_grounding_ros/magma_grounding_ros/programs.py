"""The programs of this package, by the names under which they are installed."""

from magma_common.process.program import program_of

main = program_of(
    {
        "grounding": "magma_grounding_ros.grounding_node",
        "click": "magma_grounding_ros.click_node",
    }
)
