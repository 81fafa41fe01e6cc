"""What is known of the robot and asked of it: its state, its pictures, its arm, its controller, a model that points."""
