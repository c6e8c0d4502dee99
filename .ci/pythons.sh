#!/bin/sh
# Runs the demo, and the tests that need neither a server nor patience, on each Python of this machine
# from the lock, then the frame tests with the oldest PyAV that pyproject.toml allows.
# .venv comes first, with the demo alone: all tests run there. WORKERS: processes of pytest.
set -eu
cd "$(dirname "$0")/.."

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

demo() {
    demo=$(mktemp -d)
    if ! "$1/bin/metaferry" demo "$demo/demo" >"$demo/out" 2>&1; then
        cat "$demo/out" >&2
        echo "python: the demo fails in $1" >&2
        exit 1
    fi
    rm -rf "$demo"
}

echo "python: the demo with $(version .venv/bin/python), in .venv"
demo .venv
.ci/interpreters.sh | while read -r number python; do
    [ "$number" != "$(version .venv/bin/python)" ] || continue
    home=.cache/python$number
    .ci/environment.sh "$python" "$home" tests/requirements.lock </dev/null
    echo "python: the demo and the tests without servers with $number, in $home"
    demo "$home" </dev/null
    "$home/bin/python" -m pytest -p no:cacheprovider -n "${WORKERS:-3}" --dist loadfile --no-loadscope-reorder \
        -m "not slow and not servers" </dev/null || exit 1
done || exit 1

# An environment whose PyAV is another; everything else is looked up in .venv.
oldest=.cache/pyav-oldest
if ! [ "$oldest/ready" -nt tests/oldest-pyav.lock ] || ! [ "$oldest/ready" -nt .venv/ready-dev ]; then
    .venv/bin/python -m venv --clear "$oldest"
    "$oldest/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        -r tests/oldest-pyav.lock
    .venv/bin/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
        >"$("$oldest/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth"
    touch "$oldest/ready"
fi
echo "python: the frame tests with the oldest PyAV, $("$oldest/bin/python" -c 'import av; print(av.__version__)')"
"$oldest/bin/python" -m pytest -p no:cacheprovider -n "${WORKERS:-3}" --dist loadfile --no-loadscope-reorder \
    -m "not servers" tests/unit/media tests/e2e/test_frames_corpus.py
