#!/bin/sh
# Writes .env with fresh random passwords, readable by you alone. Leaves an existing .env as it is.
set -eu
cd "$(dirname "$0")/.."
if [ -e .env ]; then
    echo ".env is already there; nothing changed. (Delete it for new passwords; the database keeps its old one.)"
    exit 0
fi
secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
umask 077
while IFS= read -r line; do
    case "$line" in
        GROUNDUP_*_PASSWORD= | GROUNDUP_*_SECRET=) printf '%s%s\n' "$line" "$(secret)" ;;
        *) printf '%s\n' "$line" ;;
    esac
done < .env.example > .env
echo "Wrote .env. Sign in to Prefect with admin:<GROUNDUP_PREFECT_PASSWORD>, to MLflow as admin with <GROUNDUP_MLFLOW_PASSWORD>."
