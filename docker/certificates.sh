#!/bin/sh
# An authority of this stack's own, and a certificate for each part: sh certificates.sh FOLDER [OWNER:GROUP]
# What is there already stays as it is.
set -eu
certs=$1 owner=${2:-}
mkdir -p "$certs"
cd "$certs"
umask 027

new_key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

if [ ! -f ca/ca.crt ]; then
    mkdir -p ca
    new_key ca/ca.key
    chmod 600 ca/ca.key
    openssl req -x509 -new -key ca/ca.key -sha256 -days 1095 -out ca/ca.crt -subj "/CN=logging-lib compose authority" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
fi
for name in elasticsearch kibana logstash mail; do
    [ ! -f "$name/$name.crt" ] || continue
    mkdir -p "$name"
    new_key "$name/$name.key"
    printf '%s\n' "subjectAltName=DNS:$name,DNS:localhost,IP:127.0.0.1" "extendedKeyUsage=serverAuth,clientAuth" \
        "basicConstraints=CA:FALSE" "keyUsage=digitalSignature" > "$name/extensions"
    openssl req -new -key "$name/$name.key" -subj "/CN=$name" |
        openssl x509 -req -sha256 -days 1095 -CA ca/ca.crt -CAkey ca/ca.key -CAcreateserial \
            -extfile "$name/extensions" -out "$name/$name.crt"
    rm "$name/extensions"
done
if [ -n "$owner" ]; then # but for the authority's key, which no part needs
    find . ! -path './ca/ca.key' -exec chown "$owner" {} +
fi
