"""Frazil: events in, trusted tables out."""

__version__ = "0.1.0"
