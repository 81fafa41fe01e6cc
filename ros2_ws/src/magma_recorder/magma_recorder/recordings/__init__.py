"""Recordings as files: from the queue to the disk, and from the disk back, also where one was cut off."""
