"""Pipelines: named steps that run in order, with state, log and retries; started by a person, a clock or a new snapshot."""
