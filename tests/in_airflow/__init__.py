"""Tests that run in Airflow's own environments, for each of its majors: `make test-airflow`."""
