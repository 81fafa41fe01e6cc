"""Published sets of recorded screens: their records read, and answers about them scored; no browser, no phone."""
