#!/bin/sh
# Makes sure that a mosquitto binary is there for the tests; installs Debian's when it is not.
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin"
command -v mosquitto >/dev/null && exit 0
if ! command -v apt-get >/dev/null; then
    echo "The tests need the mosquitto broker on PATH; install it with your system's package manager." >&2
    exit 69
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto >/dev/null
# Debian starts a system-wide broker; the tests start their own on a free loopback port.
