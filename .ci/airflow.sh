#!/bin/sh
# Makes .cache/airflow2 or .cache/airflow3 ready: that major of Airflow, metaferry, and what its tests need.
# Called by the Makefile. Airflow 2 knows no Python beyond 3.12; PYTHON names the interpreter to use.
set -eu
cd "$(dirname "$0")/.."
major=${1:?2 or 3}
home=.cache/airflow$major

fits() { "$1" -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= ((3, 12) if $major == 2 else (3, 13)))" >/dev/null 2>&1; }

for name in ${PYTHON:-.venv/bin/python python3 python3.12 python3.11 python3.13}; do
    if command -v "$name" >/dev/null 2>&1 && fits "$name"; then
        python=$name
        break
    fi
done
if [ -z "${python:-}" ]; then
    echo "airflow: no Python here that Airflow $major runs on (3.11 to 3.1$((major == 2 ? 2 : 3))): its tests are left out" >&2
    exit 0
fi
echo "airflow: installing Airflow $major, each package checked against its hash; it takes a minute or two"
"$python" -m venv --clear "$home"
"$home/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "tests/in_airflow/airflow$major.lock"
"$home/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
touch "$home/ready"
