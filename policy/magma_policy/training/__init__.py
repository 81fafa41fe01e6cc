"""`magma-train`: behaviour cloning of a Magma on demonstrations."""
