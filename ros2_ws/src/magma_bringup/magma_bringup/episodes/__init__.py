"""Episodes that are played through the graph: their run, results, films, times, and how a task ends."""
