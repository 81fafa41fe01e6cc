"""A vision-language-action policy as a ROS 2 node."""
