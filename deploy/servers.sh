#!/usr/bin/env bash
# etcd, Prometheus, Alertmanager, ClickHouse, PostgreSQL and nginx (with njs) from Debian, for the tests, without
# letting the packages start services.
set -euo pipefail
missing=() services=()
command -v etcd >/dev/null || { missing+=(etcd-server); services+=(etcd); }
command -v etcdctl >/dev/null || missing+=(etcd-client)
command -v prometheus >/dev/null && command -v promtool >/dev/null || { missing+=(prometheus); services+=(prometheus); }
command -v prometheus-alertmanager >/dev/null || {
  missing+=(prometheus-alertmanager); services+=(prometheus-alertmanager); }
command -v clickhouse-server >/dev/null || { missing+=(clickhouse-server); services+=(clickhouse-server); }
command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
  { missing+=(postgresql); services+=(postgresql); }
optional=()
if [ ! -e /usr/lib/nginx/modules/ngx_http_js_module.so ] || ! { command -v nginx >/dev/null || [ -x /usr/sbin/nginx ]; }; then
  optional=(nginx-light libnginx-mod-http-js)
fi
[ $((${#missing[@]} + ${#optional[@]})) -gt 0 ] || exit 0
as_root=(); [ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -qq
if [ ${#optional[@]} -gt 0 ]; then
  # older releases have no njs: there the test of the nginx example is skipped, and says so
  if apt-cache show "${optional[@]}" >/dev/null 2>&1; then
    missing+=("${optional[@]}"); services+=(nginx)
  else
    echo "no ${optional[*]} in this release: the nginx example is not tested"
  fi
fi
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing ${missing[*]}"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod +x "$policy"
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
# nor may they start, and take port 80, when the machine does
for service in "${services[@]}"; do
  "${as_root[@]}" update-rc.d "$service" disable >/dev/null
done
