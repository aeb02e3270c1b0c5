#!/usr/bin/env bash
# The servers that Debian does not ship, from the Go module proxy; usage: build.sh OUT
#
# `go install path@version` refuses modules with replace directives, which etcd has: so each server has a
# small module here that names it as a tool, with every dependency's hash in go.sum.
set -euo pipefail
out=$(realpath -m "${1:?usage: build.sh OUT}")
cd "$(dirname "$0")"
if ! command -v go >/dev/null; then
  echo "compat: skipped, there is no Go here; install it (https://go.dev/doc/install) to build the servers" >&2
  exit 3
fi
mkdir -p "$out"

build() { # build MODULE BINARY PACKAGE [GO BUILD FLAGS]
  local module=$1 binary=$2 package=$3
  shift 3
  # GOFLAGS is cleared: a user's -mod=vendor would look for a vendor folder here
  (cd "$module" && GOFLAGS= CGO_ENABLED=0 nice -n 19 go build -trimpath -buildvcs=false -mod=readonly "$@" -o "$out/$binary" "$package")
}

for module in etcd-*; do
  build "$module" "$module" go.etcd.io/etcd/server/v3
done
for module in prometheus-*; do
  version=$(cd "$module" && go list -m -f '{{.Version}}' github.com/prometheus/prometheus)
  # the Go module v0.315.0 is Prometheus 3.15.0; without service discovery, which no test uses, it builds four times as fast
  [[ $version =~ ^v0\.([0-9])0*([0-9]+)\.([0-9]+)$ ]]
  release="${BASH_REMATCH[1]}.${BASH_REMATCH[2]}.${BASH_REMATCH[3]}"
  for tool in prometheus promtool; do
    build "$module" "${module/prometheus/$tool}" "github.com/prometheus/prometheus/cmd/$tool" \
      -tags netgo,remove_all_sd -ldflags "-s -w -X github.com/prometheus/common/version.Version=$release"
  done
done
build victoriametrics victoria-metrics github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics -ldflags "-s -w"
version=$(cd helm && go list -m -f '{{.Version}}' helm.sh/helm/v3)
kubernetes=$(cd helm && go list -m -f '{{.Version}}' k8s.io/api) # v0.37.0 is that of Kubernetes 1.37; without it, helm says 1.20
[[ $kubernetes =~ ^v0\.([0-9]+)\. ]]
package=helm.sh/helm/v3
build helm helm $package/cmd/helm -ldflags "-s -w -X $package/internal/version.version=$version \
  -X $package/pkg/chartutil.k8sVersionMajor=1 -X $package/pkg/chartutil.k8sVersionMinor=${BASH_REMATCH[1]} \
  -X $package/pkg/lint/rules.k8sVersionMajor=1 -X $package/pkg/lint/rules.k8sVersionMinor=${BASH_REMATCH[1]}"
version=$(cd kube-apiserver && go list -m -f '{{.Version}}' k8s.io/kubernetes)
[[ $version =~ ^v([0-9]+)\.([0-9]+)\. ]]
package=k8s.io/component-base/version # without these, the server says that it is v0.0.0, which charts refuse
build kube-apiserver kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver \
  -ldflags "-s -w -X $package.gitVersion=$version -X $package.gitMajor=${BASH_REMATCH[1]} -X $package.gitMinor=${BASH_REMATCH[2]}"
build flagger flagger-webhook .
build argo-rollouts argo-web-metric .
