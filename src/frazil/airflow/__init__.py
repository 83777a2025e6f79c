"""Frazil for Airflow 3: operators, a sensor and an event trigger. Airflow has an environment of its own: what it imports here needs
the standard library, Airflow and PyIceberg; work is done by the platform's own command line.
"""
