#!/bin/sh
# From a fresh machine to a guest's login prompt: installs what is missing, brings up a one-sled
# rack, and walks the guide with the oxide command. A second run goes on with what is there.
#
#   tools/quickstart.sh [--platform auto|linux|sim] [--state DIR] [--external ADDR:PORT] [--down]
#
# LUGE_OUTSIDE names a network namespace that stands for the outside (default: the host's own).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$here"
platform=auto state='' external='' down=no
while [ $# -gt 0 ]; do
  case $1 in
    --platform) platform=${2:?--platform needs a name}; shift 2 ;;
    --state) state=${2:?--state needs a directory}; shift 2 ;;
    --external) external=${2:?--external needs ADDR:PORT}; shift 2 ;;
    --down) down=yes; shift ;;
    *) echo "quickstart: unknown option $1" >&2; exit 2 ;;
  esac
done

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }

say 'Installing what is missing'
if [ "$platform" != sim ] && [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ]; then
  tools/install_prerequisites.sh -y || {
    echo 'quickstart: not everything could be installed: going on with what is here' >&2
  }
fi
tools/install_node_modules.sh

node=$here/node_modules/.bin/node
field() { "$node" -e "
  const value = JSON.parse(require('node:fs').readFileSync(0, 'utf8'))
  console.log(process.argv[1].split('.').reduce((at, key) => at?.[key] ?? '', value))" "$1"; }

if [ "$platform" != sim ] && [ "$(id -u)" = 0 ] && [ "$(uname -s)" = Linux ]; then
  say 'Building the guest image'
  tools/guest_image.sh || {
    [ "$platform" = auto ] || fail 'the guest image could not be built'
    echo 'quickstart: no guest image could be built: falling back to sim' >&2
    platform=sim
  }
fi

say 'Bringing up the rack'
set -- rack up --detach --json --platform "$platform"
[ -z "$state" ] || set -- "$@" --state "$state"
[ -z "$external" ] || set -- "$@" --external "$external"
[ -z "${LUGE_OUTSIDE:-}" ] || set -- "$@" --outside "$LUGE_OUTSIDE"
ready=$(tools/luge "$@") || exit 1
echo "$ready"
OXIDE_HOST=$(echo "$ready" | field external)
OXIDE_TOKEN=$(echo "$ready" | field token)
export OXIDE_HOST OXIDE_TOKEN
platform=$(echo "$ready" | field platform)

# ensure VIEW METHOD PATH BODY: makes what VIEW does not show yet.
ensure() {
  if tools/oxide api "$1" >/dev/null 2>&1; then
    echo "there already: $1"
  else
    printf '%s' "$4" | tools/oxide api "$3" --method "$2" --input -
  fi
}
project=/organizations/myorg/projects/myproj

say 'Organization and project'
tools/oxide api /organizations/myorg >/dev/null 2>&1 ||
  tools/oxide org create myorg -D 'my organization'
tools/oxide api $project >/dev/null 2>&1 ||
  tools/oxide project create -o myorg myproj -D 'my project'

say 'IP pool'
ensure /system/ip-pools/mypool POST /system/ip-pools \
  '{"name":"mypool","description":"an IP pool"}'
if [ -z "$(tools/oxide api /system/ip-pools/mypool/ranges | field items.0.id)" ]; then
  printf '{"first":"172.20.15.227","last":"172.20.15.239"}' |
    tools/oxide api /system/ip-pools/mypool/ranges/add --method POST --input -
fi

say 'Image'
ensure /system/images/alpine POST /system/images \
  '{"name":"alpine","description":"boot from propolis zone blob!","block_size":512,
    "distribution":{"name":"alpine","version":"propolis-blob"},
    "source":{"type":"you_can_boot_anything_as_long_as_its_alpine"}}'
image=$(tools/oxide api /system/images/alpine | field id)

say 'Disk'
ensure $project/disks/alpine POST $project/disks/ \
  '{"name":"alpine","description":"alpine.iso blob","block_size":512,"size":1073741824,
    "disk_source":{"type":"global_image","image_id":"'"$image"'"}}'

say 'Instance'
ensure $project/instances/myinst POST $project/instances \
  '{"name":"myinst","description":"my inst","hostname":"myinst","memory":1073741824,"ncpus":2,
    "disks":[{"type":"attach","name":"alpine"}],"external_ips":[{"type":"ephemeral"}]}'
# A guest that was left stopped, or ended with the machine, is started; the sled says so in its time.
start_again() {
  case $(tools/oxide api $project/instances/myinst | field run_state) in
    stopped) tools/oxide instance start -o myorg -p myproj myinst ;;
    failed) fail "the guest could not be started: tools/luge logs supervisor${state:+ --state $state} says why" ;;
  esac
}
start_again

say 'Serial console'
tries=0
until tools/oxide instance serial -o myorg -p myproj --byte-offset=0 -m 1048576 myinst 2>/dev/null |
  tr -d '\r' | grep -a 'login: *' >/dev/null; do
  tries=$((tries + 1))
  start_again
  [ $tries -lt 240 ] || {
    tools/oxide instance serial -o myorg -p myproj myinst || true
    fail 'the guest did not show its login prompt within two minutes'
  }
  sleep 0.5
done
shown=$(tools/oxide instance serial -o myorg -p myproj --byte-offset=-1024 myinst)
printf '%s\n' "$shown" | tr -d '\r' | tail -n 4

say 'Where to look next'
address=$(tools/oxide api $project/instances/myinst/external-ips | field items.0.ip)
echo "  export OXIDE_HOST=$OXIDE_HOST OXIDE_TOKEN=$OXIDE_TOKEN"
echo '  tools/oxide instance serial --interactive -o myorg -p myproj myinst    # Ctrl-C leaves'
[ "$platform" = sim ] || echo "  ping $address"
echo "  tools/luge rack status${state:+ --state $state}"
echo "  tools/luge rack down${state:+ --state $state}"
if [ "$down" = yes ]; then
  say 'Taking the rack down'
  tools/luge rack down ${state:+--state "$state"}
fi
