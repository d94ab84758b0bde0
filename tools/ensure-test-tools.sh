#!/bin/sh
# Makes sure that the programs the tests talk to are there: a broker and its clients, a registry, a browser, Prometheus, systemd-analyze. Installs Debian's where
# they are not, and fails when that is impossible: no test is skipped.
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin"

missing_packages() {
    command -v mosquitto >/dev/null || printf ' mosquitto'
    command -v mosquitto_rr >/dev/null || printf ' mosquitto-clients'
    command -v jq >/dev/null || printf ' jq'
    command -v docker-registry >/dev/null || printf ' docker-registry'
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || printf ' chromium'
    command -v promtool >/dev/null || printf ' prometheus'
    command -v systemd-analyze >/dev/null || printf ' systemd'
}

missing=$(missing_packages)
[ -n "$missing" ] || exit 0

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
if command -v apt-get >/dev/null; then
    $sudo apt-get update -qq
    # Debian starts a system-wide broker, registry and Prometheus; the tests start their own on free loopback ports.
    for package in $missing; do
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null || true
    done
fi
missing=$(missing_packages)
if [ -n "$missing" ]; then
    echo "The tests need these programs on PATH; install them with your system's package manager:$missing" >&2
    exit 69
fi
