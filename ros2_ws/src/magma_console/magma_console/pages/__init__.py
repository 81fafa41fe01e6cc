"""The pages behind the door, and the recordings, evaluations and programs that they show."""
