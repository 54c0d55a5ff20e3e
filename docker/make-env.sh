#!/bin/sh
# Writes .env beside docker-compose.yml: .env.example with a new random password wherever it says CHANGE_ME.
# An .env that is there stays as it is.
set -eu
cd "$(dirname "$0")/.."
if [ -e .env ]; then
    echo ".env is there already; remove it to get new passwords (and the volumes: docker compose down -v)"
    exit 0
fi
umask 077
while IFS= read -r line; do
    case $line in
        *=CHANGE_ME) echo "${line%CHANGE_ME}$(head -c 24 /dev/urandom | od -An -vtx1 | tr -d ' \n')" ;;
        *) printf '%s\n' "$line" ;;
    esac
done < .env.example > .env.new
mv .env.new .env
echo "wrote .env, readable by you alone; now: docker compose up --detach --wait"
