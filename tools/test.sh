#!/usr/bin/env bash
# Runs every test, from a fresh clone on a fresh machine: installs what is missing first.
#
#   tools/test.sh [--no-host]
#     --no-host  leave out the tests that need root, Linux and the real tools
#
# Without that flag a machine that cannot run them fails, and says why.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

host=yes
for argument in "$@"; do
  case $argument in
    --no-host) host=no ;;
    *)
      echo 'Usage: tools/test.sh [--no-host]' >&2
      exit 2
      ;;
  esac
done

# Why the host tests cannot run here; empty when they can.
obstacle() {
  if [[ $(uname -s) != Linux ]]; then
    echo 'they need Linux'
  elif [[ $(id -u) -ne 0 ]]; then
    echo 'they need root'
  elif ! unshare --net true 2>/dev/null; then
    echo 'this machine does not let root make network namespaces'
  fi
}

can_install() { [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; }

if can_install; then
  tools/install_prerequisites.sh -y
fi

tools/install_node_modules.sh

if [[ $host == no ]]; then
  echo 'Left out, as asked: the tests on this host (npm run test:host)'
  exec npm run check
fi
npm run check

reason=$(obstacle)
if [[ -n $reason ]]; then
  echo "The tests on this host cannot run: $reason. Use --no-host to do without them." >&2
  exit 1
fi
if [[ -z $(find test/host -name '*.test.ts' 2>/dev/null) ]]; then
  echo 'There are no tests for this host in test/host: an empty pass is a failure.' >&2
  exit 1
fi
tools/guest_image.sh
npm run test:host
