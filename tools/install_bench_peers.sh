#!/bin/sh
# Installs the programs that the benchmarks compare with, where Debian has them. Without them the
# benchmarks leave those comparisons out and say so. Running it again changes nothing.
set -eu

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

missing=
for package in erlang-base nats-server util-linux; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
  [ "$status" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null 2>&1 ||
    die "This is not a Debian system: install the counterparts of$missing by hand."
  [ "$(id -u)" -eq 0 ] || die "Installing$missing needs root: run this script with sudo."
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  # The list is meant to fall apart into words.
  # shellcheck disable=SC2086
  apt-get install -q -y --no-install-recommends $missing
fi
# The benchmarks start what they need; Debian's packages would have services run all the time.
if [ -d /run/systemd/system ] && [ -n "$missing" ]; then
  systemctl disable --now epmd.socket epmd.service nats-server.service
fi
echo 'All programs that the benchmarks compare with are installed'
