#!/bin/sh
# Makes the certificate that the external API serves with until it has a real one:
# out/certs/cert.pem and out/certs/key.pem, for localhost, valid for ten years, signed by itself.
# Running it again keeps what is there and holds.
set -eu
umask 022

if [ $# -ne 0 ]; then
  echo 'Usage: tools/create_self_signed_cert.sh' >&2
  exit 2
fi
if ! command -v openssl >/dev/null 2>&1; then
  echo 'openssl is missing: run tools/install_prerequisites.sh, then this again' >&2
  exit 1
fi

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
certs=$here/out/certs
cert=$certs/cert.pem
key=$certs/key.pem
day_s=86400

# The certificate has another day to go, and the key is its own.
holds() {
  [ -f "$cert" ] && [ -f "$key" ] &&
    openssl x509 -in "$cert" -noout -checkend $day_s >/dev/null 2>&1 &&
    known=$(openssl x509 -in "$cert" -noout -pubkey 2>/dev/null) &&
    own=$(openssl pkey -in "$key" -passin pass: -pubout 2>/dev/null) &&
    [ "$known" = "$own" ]
}

if holds; then
  chmod 600 "$key"
  echo "$cert is there and holds"
  exit 0
fi

mkdir -p "$certs"
rm -f "$key.next"
said=$(umask 077 && openssl req -x509 -newkey rsa:4096 -sha256 -days 3650 -nodes -subj '/CN=localhost' \
  -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1' \
  -keyout "$key.next" -out "$cert.next" 2>&1) || {
  echo "The certificate could not be made: $said" >&2
  exit 1
}
# Cut off between these two, the next run finds a key that is not the certificate's, and starts over.
mv -f "$key.next" "$key"
chmod 644 "$cert.next"
mv -f "$cert.next" "$cert"
echo "Made $cert and $key"
