#!/usr/bin/env bash
# The integration tests against servers that Debian does not ship; usage: run.sh VENV [pytest arguments]
# Debian's own (etcd 3.4, Prometheus 2.42) are what `make test` uses.
set -euo pipefail
venv=$(realpath "${1:?usage: run.sh VENV [pytest arguments]}")
shift
cd "$(dirname "$0")/.."
bin=$PWD/.compat/bin
built=0
bash compat/build.sh "$bin" || built=$?
[ "$built" -ne 3 ] || exit 0  # no Go here: skipped, and said so
[ "$built" -eq 0 ] || exit "$built"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
results=()
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
run etcd-3.5 prometheus promtool "$@"
run etcd-3.6 prometheus-3 promtool-3 "$@"
echo
printf '%s\n' "${results[@]}"
exit "$failed"
