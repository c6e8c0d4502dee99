#!/bin/sh
# Runs the tests of the operators in one major of Airflow, with each Python of this machine that it knows,
# from the lock. Usage: .ci/airflow.sh 2 (or 3). Called by the Makefile.
set -eu
cd "$(dirname "$0")/.."
major=${1:?2 or 3}
newest=3.12 # what the metadata of Airflow 2 allows; that of Airflow 3 allows 3.14
[ "$major" = 2 ] || newest=3.14

ran=no
for number in 3.11 3.12 3.13 3.14; do
    python=$(.ci/interpreters.sh | sed -n "s/^$number //p")
    if [ -n "$python" ]; then
        .ci/environment.sh "$python" ".cache/airflow$major-$number" "tests/in_airflow/airflow$major.lock"
        echo "test: in Airflow $major with Python $number"
        ".cache/airflow$major-$number/bin/python" -m pytest -c tests/in_airflow/pytest.ini tests/in_airflow
        ran=yes
    fi
    [ "$number" != "$newest" ] || break
done
[ "$ran" = yes ] || echo "test: no Python here that Airflow $major runs on (3.11 to $newest): its tests are left out" >&2
