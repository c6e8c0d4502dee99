#!/bin/sh
# Installs programs of the system that some tests use and that cannot come from PyPI or npm: promtool, without
# which the alert rules are not tried, MariaDB, without which no query runs on it, and Chromium, without which this
# fails, since nothing else looks at the pages that users open. Called by .ci/run. With `make test` alone, tests
# whose program is missing are skipped. PostgreSQL is taken from the machine, or comes in a wheel.
set -u

install() {
    # The server that comes with promtool is not wanted.
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@"
}
can_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

if ! command -v promtool >/dev/null; then
    if can_install; then
        echo "system: installing promtool (Debian's package prometheus)"
        install prometheus >/dev/null 2>&1 || echo "system: it could not be installed; the alert rules are not tried"
    else
        echo "system: promtool is not installed here; the alert rules are not tried"
    fi
fi
if ! command -v mariadbd >/dev/null && ! [ -x /usr/sbin/mariadbd ]; then
    if can_install; then
        echo "system: installing mariadb-server"
        install mariadb-server >/dev/null 2>&1 || echo "system: it could not be installed; no query runs on MariaDB"
    else
        echo "system: MariaDB is not installed here; no query runs on it"
    fi
fi
if ! command -v chromium >/dev/null; then
    if can_install; then
        echo "system: installing chromium"
        install chromium fonts-dejavu-core >/dev/null 2>&1
    fi
    if ! command -v chromium >/dev/null; then
        echo "system: chromium is needed for the tests of reports; install it, and run this again" >&2
        exit 1
    fi
fi
