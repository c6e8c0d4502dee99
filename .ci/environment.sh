#!/bin/sh
# Makes an environment ready, with that interpreter: metaferry, and the packages of the lock.
# Usage: .ci/environment.sh /path/to/python .cache/python3.X some.lock
set -eu
cd "$(dirname "$0")/.."
python=${1:?the interpreter}
home=${2:?the folder of the environment}
lock=${3:?the lock file}

if [ "$home/ready" -nt "$lock" ] && [ "$home/ready" -nt pyproject.toml ]; then
    exit 0
fi
echo "setup: making $home with $("$python" --version), each package checked against its hash; it takes a minute or two"
"$python" -m venv --clear "$home"
"$home/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
"$home/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
touch "$home/ready"
