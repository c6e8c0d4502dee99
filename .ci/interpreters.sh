#!/bin/sh
# Prints each Python of 3.11 and later on this machine, a minor version a line: "3.12 /path/to/python3.12".
# Looks in PATH, and where systems and pyenv put them; of several with one minor version the newest counts.
# PYTHON, where it is set, names the only one to use.
set -eu

candidates() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON"
        return
    fi
    for name in python3 python3.11 python3.12 python3.13 python3.14; do
        command -v "$name" || true
    done
    for place in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin /usr/local/bin /usr/bin /opt/python*/bin; do
        for python in "$place"/python3.1[1-9]; do
            [ ! -x "$python" ] || printf '%s\n' "$python"
        done
    done
}

# A candidate may be a shim with no interpreter behind it, or one that cannot make environments.
candidates | while read -r python; do
    "$python" -c 'if True:
        import ensurepip, sys, venv
        major, minor, micro = sys.version_info[:3]
        if sys.implementation.name == "cpython" and (3, 11) <= (major, minor) < (3, 15):
            print(major, minor, micro, sys.executable, sep="\t")
    ' 2>/dev/null || true
done | sort -k1,1n -k2,2n -k3,3nr -k4,4 | awk -F '\t' '!seen[$1 "." $2]++ { print $1 "." $2, $4 }'
