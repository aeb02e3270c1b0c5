#!/usr/bin/env bash
# The integration tests against servers that Debian does not ship; usage: run.sh VENV [pytest arguments]
# Debian's own (etcd 3.4, Prometheus 2.42) are what `make test` uses.
set -euo pipefail
venv=$(realpath "${1:?usage: run.sh VENV [pytest arguments]}")
shift
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
results=()
# Other releases of LiteLLM: an environment of its own for each, exactly as locked.
for locked in compat/litellm-[0-9]*/requirements.txt; do
  environment=$PWD/.compat/$(basename "$(dirname "$locked")")
  if ! cmp -s "$locked" "$environment/installed"; then
    "$venv/bin/python" -m venv --clear "$environment"
    "$environment/bin/python" -m pip install -q --require-hashes --only-binary :all: -r "$locked" -r deploy/requirements-build.txt
    "$environment/bin/python" -m pip install -q --no-index --no-deps --no-build-isolation -e .
    cp "$locked" "$environment/installed"
  fi
  what="LiteLLM $("$environment/bin/python" -c 'import importlib.metadata; print(importlib.metadata.version("litellm"))')"
  echo "=== $what"
  if "$environment/bin/pytest" -q -n "${WORKERS:-2}" tests/integration/integrations/test_litellm_{router,shadow}.py "$@" | tee "$scratch/output"; then
    results+=("$(tail -n 1 "$scratch/output"): $what")
  else
    results+=("FAILED, $(tail -n 1 "$scratch/output"): $what")
    failed=1
  fi
done

# The real LiteLLM proxy: its 123 packages (800 MB) clash with ours, so the tests of $venv start it from its own.
locked=compat/litellm-proxy/requirements.txt
environment=$PWD/.compat/litellm-proxy
if ! cmp -s "$locked" "$environment/installed"; then
  "$venv/bin/python" -m venv --clear "$environment"
  "$environment/bin/python" -m pip install -q --require-hashes --only-binary :all: -r "$locked"
  cp "$locked" "$environment/installed"
fi
what="LiteLLM proxy $("$environment/bin/python" -c 'import importlib.metadata; print(importlib.metadata.version("litellm"))')"
echo "=== $what"
# one worker: all situations share one proxy
if LITELLM_PROXY=$environment/bin/litellm "$venv/bin/pytest" -q tests/integration/integrations/test_litellm_proxy*.py "$@" | tee "$scratch/output"; then
  results+=("$(tail -n 1 "$scratch/output"): $what")
else
  results+=("FAILED, $(tail -n 1 "$scratch/output"): $what")
  failed=1
fi

bin=$PWD/.compat/bin
built=0
bash compat/build.sh "$bin" || built=$?
if [ "$built" -ne 0 ]; then
  printf '%s\n' "${results[@]}"
  [ "$built" -ne 3 ] || exit "$failed"  # no Go here: its servers are skipped, and build.sh said so
  exit "$built"
fi
export KILLSWITCH_TEST_VICTORIAMETRICS=$bin/victoria-metrics
run() { # run ETCD PROMETHEUS PROMTOOL: names in $bin, or Debian's on the path
  local etcd prometheus promtool what path=$scratch/$1
  etcd=$(PATH="$bin:$PATH" command -v "$1")
  prometheus=$(PATH="$bin:$PATH" command -v "$2")
  promtool=$(PATH="$bin:$PATH" command -v "$3")
  what="etcd $("$etcd" --version | sed -n 's/^etcd Version: //p'), Prometheus $("$prometheus" --version 2>&1 | sed -n 's/^prometheus, version \([^ ]*\).*/\1/p')"
  echo "=== $what"
  # what starts servers by their own names (the demo) finds these, too
  mkdir "$path"
  ln -s "$etcd" "$path/etcd"
  ln -s "$prometheus" "$path/prometheus"
  ln -s "$promtool" "$path/promtool"
  if PATH="$path:$PATH" KILLSWITCH_TEST_ETCD=$etcd KILLSWITCH_TEST_PROMETHEUS=$prometheus KILLSWITCH_TEST_PROMTOOL=$promtool \
    "$venv/bin/pytest" -q -n "${WORKERS:-2}" tests/integration tests/e2e/test_daemon_trips.py "${@:4}" | tee "$path/output"; then
    results+=("$(tail -n 1 "$path/output"): $what")
  else
    results+=("FAILED, $(tail -n 1 "$path/output"): $what")
    failed=1
  fi
}
# with the etcd of the chart's image
what="Helm $("$bin/helm" version --template '{{.Version}}'), $("$bin/kube-apiserver" --version)"
echo "=== $what"
if KILLSWITCH_TEST_ETCD=$bin/etcd-3.6 "$venv/bin/pytest" -q -n "${WORKERS:-2}" tests/e2e/test_helm_*.py "$@" | tee "$scratch/output"; then
  results+=("$(tail -n 1 "$scratch/output"): $what")
else
  results+=("FAILED, $(tail -n 1 "$scratch/output"): $what")
  failed=1
fi
run etcd-3.5 prometheus promtool "$@"
run etcd-3.6 prometheus-3 promtool-3 "$@"
echo
printf '%s\n' "${results[@]}"
exit "$failed"
