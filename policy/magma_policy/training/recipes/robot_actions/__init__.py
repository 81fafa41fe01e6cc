"""Magma learns to act from demonstrations, and to answer questions about them."""
