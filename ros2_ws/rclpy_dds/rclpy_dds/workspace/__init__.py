"""Installing the packages of a colcon workspace into a plain Python environment, and finding their executables."""
