#!/bin/bash
# Gives Kibana's own user its password.
set -euo pipefail
printf '{"password": "%s"}' "$KIBANA_PASSWORD" | curl --silent --show-error --fail-with-body \
    --cacert /certs/ca.crt --netrc-file <(printf 'machine elasticsearch login elastic password %s\n' "$ELASTIC_PASSWORD") \
    --header 'Content-Type: application/json' --data-binary @- \
    https://elasticsearch:9200/_security/user/kibana_system/_password
