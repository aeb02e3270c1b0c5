#!/usr/bin/env bash
# Writes deploy/requirements.txt and deploy/requirements-build.txt: every package the image installs, with its
# hashes. The versions are those of the virtual environment the tests ran in; usage: lock.sh VENV
set -euo pipefail
venv=$(realpath "${1:?usage: lock.sh VENV}")
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools/venv"
"$tools/venv/bin/pip" install -q 'uv>=0.9'
"$venv/bin/pip" freeze --exclude-editable > "$tools/tested.txt"
compile=("$tools/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate
  --constraint "$tools/tested.txt" --custom-compile-command "deploy/lock.sh .venv")
"${compile[@]}" pyproject.toml --extra daemon --output-file deploy/requirements.txt
printf 'hatchling>=1.25\n' | "${compile[@]}" - --output-file deploy/requirements-build.txt
