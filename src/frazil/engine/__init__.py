"""Engines decide who pumps, when, and what happens on an error; what is right is decided by the swap."""
