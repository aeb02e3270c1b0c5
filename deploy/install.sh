#!/usr/bin/env bash
# A virtual environment with the package, editable. Usage: install.sh VENV daemon|everything|mutants|newest
#   daemon, everything, mutants: exactly the locked packages, each with its hash (`make lock` writes the files)
#   newest: the newest release of everything, whatever the upper bounds say (`make latest`)
set -euo pipefail
usage="usage: install.sh VENV daemon|everything|mutants|newest"
venv=${1:?$usage}
what=${2:?$usage}
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2
  exit 1
fi
if ! "$python" -m venv "$venv" 2>/dev/null; then
  echo "installing python3-venv (Debian ships it apart)"
  as_root=(); [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends python3-venv
  "$python" -m venv "$venv"
fi
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
# Wheels only: a source distribution would fetch a build backend that nothing pins.
case $what in
  daemon) files=(-r deploy/requirements.txt -r deploy/requirements-build.txt) ;;
  everything) files=(-r deploy/requirements-dev.txt -r deploy/requirements-build.txt) ;;
  mutants) files=(-r deploy/requirements-mutants.txt -r deploy/requirements-build.txt) ;;
  newest)
    mapfile -t files < <("$venv/bin/python" - <<'PYTHON'
import re
import tomllib
from pathlib import Path

document = tomllib.loads(Path("pyproject.toml").read_text())
extras = document["project"]["optional-dependencies"]
groups = document["dependency-groups"]
declared = document["project"]["dependencies"] + [
    requirement
    for name, requirements in [*extras.items(), *((name, groups[name]) for name in ("dev", "build"))]
    for requirement in requirements
    if not requirement.startswith(document["project"]["name"])
]
for requirement in sorted(set(declared)):
    print(re.sub(r",?<[^,\]]+", "", requirement))  # the upper bound
PYTHON
    ) ;;
  *) echo "$usage" >&2; exit 2 ;;
esac
if [ "$what" = newest ]; then
  "${pip[@]}" install -q --upgrade --upgrade-strategy eager --only-binary :all: "${files[@]}"
else
  "${pip[@]}" install -q --require-hashes --only-binary :all: "${files[@]}"
fi
# The build backend is in the environment already: nothing else is fetched.
"${pip[@]}" install -q --no-index --no-deps --no-build-isolation -e .
