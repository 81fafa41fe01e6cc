"""Screens: what on them can be acted on, what Magma is asked about it, and which of its answers are carried out."""
