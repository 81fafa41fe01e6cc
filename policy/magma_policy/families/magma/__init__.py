"""Magma, from magma-tiny to Magma-8B."""
