"""The original SimplerEnv (SAPIEN 2.2.2) as a worker process in an environment of its own.

SAPIEN 2.2.2 needs numpy below 2 and Python 3.10 or 3.11, so it cannot live with the rest. `worker` runs there and talks
to `client` here, over a socket, in the messages of `protocol`; `task` makes a `Task` of it; `installation` sets it up.
`protocol` and `worker` must import nothing of this project but each other: the other environment's Python runs them.
"""
