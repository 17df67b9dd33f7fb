#!/bin/sh
# Installs what the product, its tests and the guest image need from Debian, or says what is missing.
# Running it again changes nothing.
#
#   tools/install_prerequisites.sh [-y] [-p]
#     -y  install without asking
#     -p  do not check PATH afterwards
set -eu

say() { printf '%s\n' "$*"; }
die() {
  say "$*" >&2
  exit 1
}
usage() { die 'Usage: tools/install_prerequisites.sh [-y] [-p]'; }

# One list: what it is for, the package, and a command that proves it is there (- for none).
packages='
product  qemu-system-x86     qemu-system-x86_64
product  qemu-system-common  -
product  qemu-block-extra    -
product  qemu-utils          qemu-storage-daemon
product  crun                crun
product  runc                runc
product  nftables            nft
product  libnftables1        -
product  iproute2            ip
product  ca-certificates     -
product  openssl             openssl
image    busybox-static      busybox
image    mtools              mcopy
image    syslinux            syslinux
image    syslinux-common     -
image    binutils            readelf
image    cpio                cpio
image    zstd                zstd
tests    conntrack           conntrack
tests    curl                curl
tests    iputils-ping        ping
tests    knot-dnsutils       kdig
tests    openssh-client      ssh
tests    postgresql          psql
tests    python3             python3
tests    tcpdump             tcpdump
tests    xmlsec1             xmlsec1
'

assume_yes=no
check_path=yes
while getopts yp option; do
  case $option in
    y) assume_yes=yes ;;
    p) check_path=no ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
[ $# -eq 0 ] || usage

finished=no
on_exit() {
  status=$?
  if [ "$status" -ne 0 ] && [ "$finished" = working ]; then
    say 'Something went wrong, but this script is idempotent - If you can fix the issue, try re-running' >&2
  fi
  exit "$status"
}
trap on_exit EXIT

has() { command -v "$1" >/dev/null 2>&1; }

# illumos: the system itself has what the product needs; what is not there is only named.
check_illumos() {
  missing=
  for command in zoneadm zonecfg zfs zpool dladm ipadm svcadm svccfg; do
    has "$command" || missing="$missing $command"
  done
  [ -d /usr/lib/brand/omicron1 ] || missing="$missing brand/omicron1/tools"
  [ -e /dev/opte ] || [ -e /usr/kernel/drv/amd64/xde ] || missing="$missing opte"
  if has node; then
    major=$(node -p 'process.versions.node.split(".")[0]')
    [ "$major" -ge 24 ] || missing="$missing node>=24"
  else
    missing="$missing node>=24"
  fi
  [ -z "$missing" ] || die "Missing on this machine:$missing. Install them with 'pkg install', then run this again."
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing_packages() {
  say "$packages" | while read -r _ package _; do
    [ -z "$package" ] || installed "$package" || printf ' %s' "$package"
  done
  # npm may come from anywhere; only a machine without one gets Debian's.
  has npm || printf ' nodejs npm'
}

check_commands() {
  say "$packages" | while read -r _ package command; do
    case $command in
      '' | -) continue ;;
    esac
    has "$command" || die "ERROR: $package seems installed, but $command was not found in PATH. Please add it."
  done
}

install_debian() {
  missing=$(missing_packages)
  if [ -n "$missing" ]; then
    [ "$(id -u)" -eq 0 ] || die "Installing$missing needs root: run this script with sudo."
    if [ "$assume_yes" = no ]; then
      printf 'Install%s? [y/N] ' "$missing"
      read -r answer || answer=
      case $answer in
        y | Y | yes) ;;
        *) die 'Aborting: nothing was installed.' ;;
      esac
    fi
    finished=working
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # The list is meant to fall apart into words.
    # shellcheck disable=SC2086
    apt-get install -q -y --no-install-recommends $missing
  fi
  # Debian keeps what is for root in directories that not everybody's PATH has.
  [ "$check_path" = no ] || PATH=$PATH:/usr/sbin:/sbin check_commands
}

case $(uname -s) in
  SunOS) check_illumos ;;
  Linux)
    has apt-get && has dpkg-query ||
      die 'This is not a Debian system: install the counterparts of these packages by hand:'"$(say "$packages" | while read -r _ package _; do printf ' %s' "$package"; done)"
    install_debian
    ;;
  *) die "Unsupported OS: $(uname -s)" ;;
esac
finished=yes
say 'All prerequisites installed successfully'
