#!/usr/bin/env bash
# A virtual environment with the package, and if wished its development tools; usage: install.sh VENV daemon|everything
set -euo pipefail
venv=${1:?usage: install.sh VENV daemon|everything}
what=${2:?usage: install.sh VENV daemon|everything}
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
if [ "$what" = daemon ]; then
  "$venv/bin/pip" install -q -e '.[daemon]'
else
  "$venv/bin/pip" install -q --upgrade 'pip>=25.1'
  "$venv/bin/pip" install -q -e '.[all]' --group dev
fi
