#!/bin/sh
# Makes .venv ready: `.ci/setup.sh run` for using metaferry, `.ci/setup.sh dev` for its tests too.
# Called by the Makefile, which knows when it is needed. PYTHON names the interpreter to use.
set -eu
cd "$(dirname "$0")/.."
what=${1:?run or dev}

say() { printf '%s\n' "setup: $*"; }
fail() { printf '%s\n' "setup: $*" >&2; exit 1; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if command -v "$name" >/dev/null 2>&1 && new_enough "$name"; then
            printf '%s\n' "$name"
            return
        fi
    done
    if [ -n "${PYTHON:-}" ]; then
        fail "PYTHON=$PYTHON is not a Python of version 3.11 or newer"
    fi
    found=$(python3 --version 2>&1 || true)
    fail "Python 3.11 or newer is needed (python3 here: ${found:-none}); install it, or name it: make setup PYTHON=/path/to/python3.12"
}

make_environment() {
    python=$(find_python)
    "$python" -c 'import venv, ensurepip' 2>/dev/null || fail "$python cannot make virtual environments: \
its venv module is a package of its own here; on Debian and Ubuntu: apt install $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    say "making .venv with $("$python" --version) ($(command -v "$python"))"
    "$python" -m venv --clear .venv
}

if [ ! -x .venv/bin/python ]; then
    make_environment
elif ! new_enough .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "the .venv here does not work (Python moved, too old, or cut off while it was made): making it again"
    make_environment
fi

case $what in
    run) set -- -r requirements.lock -r deploy/build.lock ;;
    dev) set -- -r tests/requirements.lock ;;
    *) fail "run or dev, not $what" ;;
esac
say "installing the locked packages, each checked against its hash; the first time this takes a minute or two"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes "$@"
say "installing metaferry itself (editable: the sources in service/ are what runs)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
say "done: .venv/bin/metaferry"
