"""The process of a node or command: how it starts, runs, keeps time and ends."""
