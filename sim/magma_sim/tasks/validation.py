"""Layouts by which a checkpoint is chosen: random ones, that neither training nor evaluation has."""

VALIDATION_EPISODES = 24
VALIDATION_SEED = 900_000_000
"""first random layout of the validation suites; the seeds of `magma-demos` stay below"""
