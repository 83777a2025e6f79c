"""Servers that tests and demos start themselves, on free loopback ports, from pinned artefacts: no container, no system Java."""
