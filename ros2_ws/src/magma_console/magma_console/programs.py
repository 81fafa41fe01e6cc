"""The programs of this package, by the names under which they are installed."""

from magma_common.process.program import program_of

main = program_of({"console": "magma_console.console_node", "markers": "magma_console.marker_node"})
