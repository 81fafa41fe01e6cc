"""Policies behind other people's servers, asked in those servers' own protocols: openpi's, and vla-eval's."""
