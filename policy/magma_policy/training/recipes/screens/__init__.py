"""Where to click on a screen, from pictures with numbered marks."""
