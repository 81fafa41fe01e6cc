"""What keeps the node going beside its decisions: rate, watchdog, the way of an emergency stop, logs, sizes."""
