"""Example DAGs that Airflow can load: a scheduled sync, and a backfill in mapped tasks.

They import `metaferry.airflow` only, and read their job and plan URL from environment variables.
"""
