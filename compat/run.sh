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

failed=0
results=()
run() { # run ETCD PROMETHEUS PROMTOOL: names in $bin, or Debian's on the path
  local etcd prometheus promtool what
  etcd=$(PATH="$bin:$PATH" command -v "$1")
  prometheus=$(PATH="$bin:$PATH" command -v "$2")
  promtool=$(PATH="$bin:$PATH" command -v "$3")
  what="etcd $("$etcd" --version | sed -n 's/^etcd Version: //p'), Prometheus $("$prometheus" --version 2>&1 | sed -n 's/^prometheus, version \([^ ]*\).*/\1/p')"
  echo "=== $what"
  if KILLSWITCH_TEST_ETCD=$etcd KILLSWITCH_TEST_PROMETHEUS=$prometheus KILLSWITCH_TEST_PROMTOOL=$promtool \
    "$venv/bin/pytest" -q -n "${WORKERS:-2}" tests/integration "${@:4}"; then
    results+=("passed  $what")
  else
    results+=("FAILED  $what")
    failed=1
  fi
}
run etcd-3.5 prometheus promtool "$@"
run etcd-3.6 prometheus-3 promtool-3 "$@"
echo
printf '%s\n' "${results[@]}"
exit "$failed"
