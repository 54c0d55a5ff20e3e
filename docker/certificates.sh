#!/bin/sh
# An authority of this stack's own, and a certificate for each part: sh certificates.sh FOLDER
# Each part has a folder with its key, its certificate and the authority's certificate, and needs no other:
#   FOLDER/authority/{ca.key,ca.crt}  FOLDER/NAME/{NAME.key,NAME.crt,ca.crt}  FOLDER/clients/ca.crt
# What is there already stays as it is, unless another authority signed it.
set -eu
mkdir -p "$1/authority" "$1/clients"
cd "$1"
umask 077

new_key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

if [ ! -f authority/ca.crt ]; then
    new_key authority/ca.key
    openssl req -x509 -new -key authority/ca.key -sha256 -days 1095 -out authority/new.crt \
        -subj "/CN=logging-lib compose authority" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
    mv authority/new.crt authority/ca.crt
fi
for name in elasticsearch kibana logstash mail; do
    ! cmp -s authority/ca.crt "$name/ca.crt" || continue
    mkdir -p "$name"
    new_key "$name/$name.key"
    printf '%s\n' "subjectAltName=DNS:$name,DNS:localhost,IP:127.0.0.1" "extendedKeyUsage=serverAuth,clientAuth" \
        "basicConstraints=CA:FALSE" "keyUsage=digitalSignature" > "$name/extensions"
    openssl req -new -key "$name/$name.key" -subj "/CN=$name" |
        openssl x509 -req -sha256 -days 1095 -CA authority/ca.crt -CAkey authority/ca.key -CAcreateserial \
            -extfile "$name/extensions" -out "$name/$name.crt"
    rm "$name/extensions"
    cp authority/ca.crt "$name/ca.crt" # last: it says that the others are complete
done
cp authority/ca.crt clients/ca.crt
chmod 644 ./*/ca.crt ./*/*.crt
