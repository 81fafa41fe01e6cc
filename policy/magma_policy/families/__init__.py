"""Families of models, each in a folder of its own; outside of it only its front is known."""
