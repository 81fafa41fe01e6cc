"""Details that rclpy keeps here."""
