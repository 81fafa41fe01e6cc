"""Google's robot of the RT-1 data, as Magma-8B was evaluated on it."""
