#!/bin/sh
# Makes sure that the programs the tests talk to are there; installs Debian's where they are not.
# The broker is needed. Without a browser or systemd-analyze, three tests are skipped and say so.
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin"

missing=""
command -v mosquitto >/dev/null || missing="$missing mosquitto"
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing="$missing chromium"
command -v systemd-analyze >/dev/null || missing="$missing systemd"
[ -n "$missing" ] || exit 0

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
if command -v apt-get >/dev/null; then
    $sudo apt-get update -qq
    for package in $missing; do
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
            echo "could not install $package" >&2
    done
fi
# Debian starts a system-wide broker; the tests start their own on a free loopback port.
if ! command -v mosquitto >/dev/null; then
    echo "The tests need the mosquitto broker on PATH; install it with your system's package manager." >&2
    exit 69
fi
