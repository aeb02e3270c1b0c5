#!/usr/bin/env bash
# Are the locked packages pinned, hashed, and free of known vulnerabilities? Says what it could not find out.
# Usage: audit.sh. Exits 1 for what is not pinned or is known to be vulnerable, 0 otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
shopt -s nullglob
locks=(deploy/requirements*.txt compat/*/requirements.txt)

"$python" - "${locks[@]}" <<'PYTHON'
import re
import sys
from pathlib import Path

bad = []
for name in sys.argv[1:]:
    text = re.sub(r"^\s*#.*\n", "", Path(name).read_text().replace("\\\n", " "), flags=re.M)
    requirements = [line.strip() for line in text.splitlines() if line.strip()]
    bad += [
        f"{name}: {line.split()[0]} is not pinned by version and SHA-256; run `make lock`"
        for line in requirements
        if not re.match(r"[A-Za-z0-9._-]+==\S+ ", line) or not re.search(r"--hash=sha256:[0-9a-f]{64}\b", line)
    ]
    print(f"{name}: {len(requirements)} packages")
print(*bad or ["every package is pinned by version and SHA-256"], sep="\n")
sys.exit(bool(bad))
PYTHON

unknown() {
  echo "NOT CHECKED: known vulnerabilities of these versions ($1). What holds all the same: the image and the tests" \
    "install exactly these files, by hash. Run \`make audit\` where pypi.org or osv.dev can be reached."
  exit 0
}
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$python" -m venv "$tools/venv"
"$tools/venv/bin/pip" install -q --disable-pip-version-check --require-hashes --only-binary :all: \
  -r deploy/requirements-tools.txt >"$tools/log" 2>&1 \
  || unknown "pip-audit itself could not be installed: $(tail -1 "$tools/log")"
# $1: a requirements file, $2: whom to ask. 0: none known, 1: some are, 2: no answer. Nothing is resolved or
# downloaded: the lock is complete, and its hashes are the point.
ask() {
  local code=0
  timeout 300 "$tools/venv/bin/pip-audit" --requirement "$1" --disable-pip --no-deps --vulnerability-service "$2" \
    --timeout 20 --progress-spinner off >"$tools/out" 2>"$tools/err" || code=$?
  [ "$code" = 0 ] && return 0
  grep -q 'Fix Versions' "$tools/out" && return 1
  return 2
}
# A mirror may answer without any data; who does not know this old one (CVE-2015-2296) knows nothing.
echo 'requests==2.5.0' >"$tools/known.txt"
service=
for candidate in pypi osv; do
  code=0; ask "$tools/known.txt" "$candidate" || code=$?
  if [ "$code" = 1 ]; then service=$candidate; break; fi
  echo "$candidate has no vulnerability data here: $([ "$code" = 0 ] && echo 'it knows nothing against requests 2.5.0' \
    || tail -1 "$tools/err" | cut -c1-160)"
done
[ -n "$service" ] || unknown "neither pypi.org nor osv.dev gave data"
for lock in "${locks[@]}"; do
  code=0; ask "$lock" "$service" || code=$?
  case $code in
    0) echo "$lock: no known vulnerabilities (asked $service)" ;;
    1) cat "$tools/err" "$tools/out"; exit 1 ;;
    *) unknown "$service did not answer about $lock: $(tail -1 "$tools/err" | cut -c1-200)" ;;
  esac
done
