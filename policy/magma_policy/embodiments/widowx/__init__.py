"""The WidowX of BridgeData V2, as Magma-8B was evaluated on it."""
