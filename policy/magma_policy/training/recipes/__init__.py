"""What is trained, on which data, for which losses."""
