#!/bin/sh
# Keeps one flag document on disk for nginx. usage: sync.sh ROLLOUT FILE   (ETCDCTL_ENDPOINTS, ETCDCTL_CACERT, … as etcdctl has them)
# A linearizable read a second; the file is replaced as a whole, and its time is that of the last read that succeeded, so
# that nginx stops trusting an armed flag when etcd has been out of reach for a minute. No document: no file, control.
set -u
rollout=$1 file=$2
export ETCDCTL_API=3
while :; do
  if document=$(etcdctl get --command-timeout=3s --print-value-only "/killswitch/v1/flags/$rollout"); then
    if [ -n "$document" ]; then
      printf '%s\n' "$document" >"$file.new" && mv "$file.new" "$file"
    else
      rm -f "$file"
    fi
  fi
  sleep 1
done
