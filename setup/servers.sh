#!/bin/sh
# Installs the servers and the browser that the tests start for themselves, and promtool, where they are missing.
set -eu
PATH=$PATH:/usr/sbin:/usr/local/sbin

missing=
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing="$missing rabbitmq-server"
command -v mosquitto >/dev/null 2>&1 || missing="$missing mosquitto"
command -v mosquitto_sub >/dev/null 2>&1 || missing="$missing mosquitto-clients"
command -v postgres >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 \
    || missing="$missing postgresql"
command -v nginx >/dev/null 2>&1 || missing="$missing nginx-light"
command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$missing faketime"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium fonts-dejavu-core"

# shellcheck disable=SC2086  (a list of packages)
[ -z "$missing" ] || exec sh "$(dirname "$0")/packages.sh" $missing
