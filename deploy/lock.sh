#!/usr/bin/env bash
# Writes every lock file: the packages of one purpose each, pinned and hashed, for Python 3.11 to 3.13.
# Usage: lock.sh [--upgrade]. Without --upgrade, versions stay as they are unless a bound forbids them.
set -euo pipefail
cd "$(dirname "$0")/.."
upgrade=("$@")
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/pip" install -q --require-hashes --only-binary :all: -r deploy/requirements-tools.txt

lock() { # lock PURPOSE|FILE [uv arguments]
  local output=deploy/requirements${1:+-$1}.txt
  [[ $1 != */* ]] || output=$1
  shift
  # Wheels only: a source distribution would run a build backend that nothing pins.
  "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --only-binary :all: \
    --generate-hashes --no-annotate --custom-compile-command "make lock" "${upgrade[@]}" --output-file "$output" "$@"
}
lock dev pyproject.toml --all-extras --group dev
# The image and the demo install a part of what the tests install, in the same versions. The daemon probes the models of
# roles with the SDKs of their providers.
lock "" pyproject.toml --extra daemon --extra shadow --extra warehouse --extra openai --extra anthropic --extra gemini \
  --extra gateway-api --extra etcd-tls \
  --constraint deploy/requirements-dev.txt
lock build --group build --constraint deploy/requirements-dev.txt
lock tools --group tools
lock mutants pyproject.toml --extra daemon --group mutants --constraint deploy/requirements-dev.txt
# The oldest LiteLLM whose router is guarded; the newest that was tested is in requirements-dev.txt.
printf 'litellm<1.81\n' >"$tools/litellm.in"
lock compat/litellm-1.80/requirements.txt pyproject.toml --all-extras --group dev --constraint "$tools/litellm.in"
# The proxy, in the release whose router is tested. An exact version: else uv looks for an old one without this extra.
grep -oE '^(litellm|prometheus-client)==[^ ;]+' deploy/requirements-dev.txt | sed 's/^litellm=/litellm[proxy]=/' >"$tools/proxy.in"
lock compat/litellm-proxy/requirements.txt "$tools/proxy.in" --override compat/litellm-proxy/overrides.txt
