"""Demonstration sets: the card, the episodes and their reader."""
