"""Where frames are in each other, by /tf and /tf_static."""
