"""Who talks to the console and by what: the one door, the open pages as operators, the pictures that each gets."""
