#!/bin/sh
# Runs the tests of the operators in one major of Airflow, with the oldest and the newest Python of this machine
# that it knows, from the lock. Usage: .ci/airflow.sh 2 (or 3). Called by the Makefile.
set -eu
cd "$(dirname "$0")/.."
major=${1:?2 or 3}
newest=3.12 # what the metadata of Airflow 2 allows; that of Airflow 3 allows 3.14
[ "$major" = 2 ] || newest=3.14

# The oldest and the newest of them: each takes minutes.
here=$(.ci/interpreters.sh | while read -r number python; do
    case $number in
    3.11 | 3.12 | 3.13 | 3.14) [ "${number#3.}" -gt "${newest#3.}" ] || echo "$number $python" ;;
    esac
done | sort -t. -k2 -n | sed -n '1p;$p' | uniq)
if [ -z "$here" ]; then
    echo "test: no Python here that Airflow $major runs on (3.11 to $newest): its tests are left out" >&2
    exit 0
fi
echo "$here" | while read -r number python; do
    .ci/environment.sh "$python" ".cache/airflow$major-$number" "tests/in_airflow/airflow$major.lock" </dev/null
    echo "test: in Airflow $major with Python $number"
    ".cache/airflow$major-$number/bin/python" -m pytest -c tests/in_airflow/pytest.ini tests/in_airflow </dev/null \
        || exit 1
done
