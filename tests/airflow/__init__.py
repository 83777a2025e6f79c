"""Tests that run inside Airflow's own environment; `tests/integration/test_airflow.py` runs them there."""
