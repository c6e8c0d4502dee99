#!/bin/sh
# Installs programs of the system that some tests use and that cannot come from PyPI or npm. Where that is
# not possible (no root, no Debian, no network), those tests skip with the reason. Called by .ci/run.
set -u

command -v promtool >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "system: promtool is not installed here; the alert rules are not tried"
    exit 0
fi
echo "system: installing promtool (Debian's package prometheus)"
{
    apt-get update -qq &&
        # The server that comes with it is not wanted.
        DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends prometheus
} >/dev/null 2>&1 || echo "system: it could not be installed; the alert rules are not tried"
