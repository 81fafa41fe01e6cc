"""One policy for many robots, over the network."""
