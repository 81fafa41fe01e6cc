"""What the nodes share: QoS profiles, message conversions, typed node configuration."""
