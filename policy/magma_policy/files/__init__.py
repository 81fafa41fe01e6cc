"""Readers and writers of files that people hand in: read whole, or refused in one sentence."""
