"""Robots, one YAML file each, and what is read of them: the file itself and the URDF that it names."""
