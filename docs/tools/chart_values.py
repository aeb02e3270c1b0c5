"""The values of the Helm chart: what each is, what it may be, what it is by default, and an example that changes it.

`docs.tools.chart` makes the chart's ``values.yaml``, its ``values.schema.json`` and the page of values from this list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from docs.tools.chart_settings import secret_files_schema, settings_schema

TEXT = {"type": "string"}
OBJECT = {"type": "object"}
SOME_TEXT = {"type": "string", "minLength": 1}
NAME = {"type": "string", "pattern": "^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$"}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
PORTS = {"type": "array", "items": PORT}
CIDRS = {"type": "array", "items": {"type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$"}}


def _only(**properties: Any) -> dict[str, Any]:
    """An object with these keys. helm only warns of one that Kubernetes does not know, and Kubernetes drops it."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _rules(peers: str) -> dict[str, Any]:
    """Rules of a NetworkPolicy. Without its peers, or with a misspelled selector, a rule lets everyone through."""
    block = {**_only(cidr=SOME_TEXT, **{"except": {"type": "array", "items": SOME_TEXT}}), "required": ["cidr"]}
    selector = _only(matchLabels=OBJECT, matchExpressions={"type": "array", "items": OBJECT})
    peer = {**_only(podSelector=selector, namespaceSelector=selector, ipBlock=block), "minProperties": 1}
    port = {
        **_only(port={"type": ["integer", "string"]}, protocol={"type": "string"}, endPort=PORT),
        "minProperties": 1,
    }
    rule = _only(**{peers: _some(peer), "ports": _some(port)})
    return {"type": "array", "items": {**rule, "required": [peers]}}


def _some(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": item}


PULL_SECRETS = {"type": "array", "items": {**_only(name=SOME_TEXT), "required": ["name"]}}
_WORDS = {name: {"type": "string"} for name in ("key", "operator", "value", "effect")}
TOLERATIONS = {"type": "array", "items": _only(**_WORDS, tolerationSeconds={"type": "integer"})}
TIME = {"type": "string", "pattern": "^([0-9]+(y|w|d|h|m|s))+$"}
RESOURCES = _only(limits=OBJECT, requests=OBJECT, claims={"type": "array"})
AFFINITY = _only(**dict.fromkeys(("nodeAffinity", "podAffinity", "podAntiAffinity"), OBJECT))
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
SWITCH = {"type": "boolean"}
# not "propertyNames": helm says of a name that is refused where it is not
FILES = {
    "type": "object",
    "patternProperties": {"^[A-Za-z0-9_-][A-Za-z0-9._-]*\\.ya?ml$": SOME_TEXT},
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Value:
    """One value. ``path``: keys joined by dots. ``example``: another value, which changes what is rendered.

    ``together``: further values without which the example changes nothing, as ``path=value`` of ``helm --set-json``.
    """

    path: str
    default: Any
    schema: dict[str, Any]
    about: str
    example: Any
    together: tuple[str, ...] = ()


def values() -> Iterator[Value]:
    """All values, in the order of the page and of ``values.yaml``."""
    yield from _pods()
    yield from _what_it_watches()
    yield from _access()
    yield from _etcd()
    yield from _network()
    yield from _outside()
    yield from _monitoring()


def _pods() -> Iterator[Value]:
    yield Value(
        "image.repository",
        "killswitch",
        {"type": "string", "minLength": 1},
        "Where your image is: `deploy/Dockerfile` builds it.",
        "registry.example.com/platform/killswitch",
    )
    yield Value("image.tag", "", TEXT, "Its tag; by default the chart's `appVersion`.", "0.2.0")
    yield Value(
        "image.digest",
        "",
        {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
        "`sha256:…`; wins over the tag.",
        f"sha256:{'0' * 64}",
    )
    yield Value(
        "image.pullPolicy",
        "",
        {"enum": ["", "Always", "IfNotPresent", "Never"]},
        "Kubernetes decides by default.",
        "Always",
    )
    yield Value("imagePullSecrets", [], PULL_SECRETS, "Secrets for a private registry.", [{"name": "registry"}])
    yield Value(
        "nameOverride",
        "",
        {"type": "string", "pattern": "^([a-z]([a-z0-9-]{0,38}[a-z0-9])?)?$"},
        "The name of all objects; by default the release's name.",
        "switch",
    )
    yield Value(
        "replicas",
        2,
        {"type": "integer", "minimum": 2},
        "Each one judges and may trip. At least two.",
        3,
    )
    yield Value(
        "resources",
        {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "768Mi"}},
        RESOURCES,
        "92 MB with one rollout, 275 MB with a thousand; slow signals need more, once a day. Set no CPU limit: being "
        "throttled delays a trip.",
        {"limits": {"memory": "1Gi"}},
    )
    yield Value("podAnnotations", {}, TEXTS, "Annotations of the pods.", {"example.com/team": "platform"})
    yield Value("podLabels", {}, TEXTS, "Further labels of the pods.", {"example.com/team": "platform"})
    yield Value("nodeSelector", {}, TEXTS, "Which nodes it runs on.", {"kubernetes.io/os": "linux"})
    yield Value("tolerations", [], TOLERATIONS, "Tainted nodes that it may run on.", [{"operator": "Exists"}])
    yield Value("affinity", {}, AFFINITY, "Besides the spread over zones and nodes.", {"nodeAffinity": {}})
    yield Value("priorityClassName", "", NAME, "So that it is not evicted first.", "system-cluster-critical")


def _what_it_watches() -> Iterator[Value]:
    sample = {"assistant.yaml": "rollout: assistant\ncontrol: model-old\ncanary: model-new\n"}
    yield Value(
        "rules.files",
        {},
        FILES,
        "Rule files, as `name.yaml: text`; with `--set-file` or in your values file. Without any, the chart's sample.",
        sample,
    )
    yield Value(
        "rules.existingConfigMap",
        "",
        NAME,
        "A ConfigMap of rule files that a team keeps itself, in place of `rules.files`.",
        "team-rules",
    )
    yield Value(
        "roles.files",
        {},
        FILES,
        "Role files, as `name.yaml: text`. Without any, no role is probed.",
        {"answers.yaml": "role: answers\nprovider: openai\n"},
    )
    yield Value(
        "roles.existingConfigMap", "", NAME, "A ConfigMap of role files, in place of `roles.files`.", "team-roles"
    )
    yield Value(
        "settings",
        {
            "store": "etcds://etcd.etcd.svc:2379",
            "source": "prometheus+https://prometheus.monitoring.svc:9091",
            "interval": "30s",
            "lag": "5s",
            "scrape_interval": "15s",
            "log_format": "json",
        },
        settings_schema(),
        "Any [setting](settings.md) by its name; `KILLSWITCH_<NAME>` in the pods. A misspelled one is refused.",
        {"public_url": "https://killswitch.example.org"},
    )
    yield Value(
        "hostNames",
        [],
        {"type": "array", "items": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,253}$"}},
        "Further names that people ask it under, such as an Ingress'. The Service's names are there.",
        ["killswitch.example.org"],
    )


def _access() -> Iterator[Value]:
    yield Value(
        "secretFiles",
        {},
        secret_files_schema(),
        "Setting: key of the Secret. The setting then names the key's file in `/etc/killswitch/secrets`.",
        {"slack_token_file": "slack-token"},
    )
    yield Value(
        "secret.existing", "", NAME, "Your Secret; by default the one with the name of the release.", "killswitch-keys"
    )
    yield Value(
        "secret.create",
        {},
        {"type": "object", "patternProperties": {"^[A-Za-z0-9._-]+$": SOME_TEXT}, "additionalProperties": False},
        "Keys and values of a Secret that the chart makes. They are kept in the release: better make it yourself.",
        {"slack-token": "not-a-token"},
    )


def _etcd() -> Iterator[Value]:
    on = ("etcd.enabled=true",)
    yield Value(
        "etcd.enabled",
        False,
        SWITCH,
        "Three members of etcd with TLS, made by the chart, in place of `settings.store`: see "
        "[An etcd](helm.md#an-etcd).",
        True,
    )
    yield Value(
        "etcd.image",
        "gcr.io/etcd-development/etcd:v3.6.16",
        {"type": "string", "minLength": 1},
        "The image of etcd.",
        "registry.example.com/etcd:v3.6.17",
        on,
    )
    yield Value(
        "etcd.storage",
        "1Gi",
        {"type": "string", "pattern": "^[0-9]+(Mi|Gi|Ti)$"},
        "Of each member. Cannot be changed after installing.",
        "2Gi",
        on,
    )
    yield Value("etcd.storageClass", "", NAME, "By default the cluster's. Cannot be changed either.", "fast", on)
    yield Value(
        "etcd.resources",
        {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        RESOURCES,
        "Of each member.",
        {"limits": {"memory": "1Gi"}},
        on,
    )


def _network() -> Iterator[Value]:
    yield Value("networkPolicy.enabled", True, SWITCH, "Names who may talk to it, and to whom it may talk.", False)
    yield Value(
        "networkPolicy.prometheusNamespace",
        "monitoring",
        {**NAME, "minLength": 1},
        "Where the Prometheus is that scrapes the daemon.",
        "observability",
    )
    yield Value(
        "networkPolicy.dns.namespace",
        "kube-system",
        {**NAME, "minLength": 1},
        "Where the cluster's DNS is; on OpenShift `openshift-dns`.",
        "openshift-dns",
    )
    yield Value("networkPolicy.dns.port", 53, PORT, "The port of its pods; on OpenShift 5353.", 5353)
    for what, said in (("store", "flag store"), ("source", "metric store")):
        port = {"store": 12379, "source": 10902}[what]
        yield Value(
            f"networkPolicy.{what}.ports",
            [],
            PORTS,
            f"Ports of the {said}'s pods, if its Service maps its port to another. By default those of the address.",
            [port],
        )
        yield Value(
            f"networkPolicy.{what}.cidrs",
            [],
            CIDRS,
            f"Where the {said} is, if its address is not a Service's of the cluster, or its Service leads outside.",
            ["10.1.2.0/24"],
            (f'settings.{what}="{"etcds" if what == "store" else "prometheus+https"}://{what}.example.com:8443"',),
        )


def _outside() -> Iterator[Value]:
    yield Value(
        "networkPolicy.internet.cidrs",
        ["0.0.0.0/0"],
        CIDRS,
        "Slack and other receivers, and models' providers: on the internet, at addresses that change. With IPv6, add "
        "`::/0`.",
        ["192.0.2.0/24"],
    )
    yield Value(
        "networkPolicy.internet.except",
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"],
        CIDRS,
        "Left out of `0.0.0.0/0` and `::/0`, so that nothing inside is reached this way.",
        ["10.0.0.0/8"],
    )
    yield Value(
        "networkPolicy.internet.ports",
        [443],
        PORTS,
        "Ports of the internet. Those of receivers that `settings` name, such as a mail server, are there besides.",
        [443, 8443],
    )
    yield Value(
        "networkPolicy.extraIngress",
        [],
        _rules("from"),
        "Further ingress rules, such as from your Ingress controller.",
        [{"from": [{"podSelector": {}}]}],
    )
    yield Value(
        "networkPolicy.extraEgress",
        [],
        _rules("to"),
        "Further egress rules, such as to a server of models inside the cluster.",
        [{"to": [{"podSelector": {}}], "ports": [{"port": 8000}]}],
    )


def _monitoring() -> Iterator[Value]:
    on = ("monitoring.enabled=true",)
    yield Value(
        "monitoring.enabled",
        False,
        SWITCH,
        "A ServiceMonitor and the alerts as a PrometheusRule; needs the Prometheus Operator.",
        True,
    )
    yield Value(
        "monitoring.labels",
        {},
        TEXTS,
        "Labels that your operator selects both by; for kube-prometheus-stack `release: <its release>`.",
        {"release": "kube-prometheus-stack"},
        on,
    )
    yield Value("monitoring.scrapeInterval", "15s", TIME, "How often the daemon's metrics are read.", "30s", on)
    yield Value(
        "monitoring.noEvaluationSeconds",
        120,
        {"type": "integer", "minimum": 60},
        "After how long without a good evaluation an alert fires: at least four of the daemon's intervals.",
        300,
        on,
    )
    yield Value(
        "dashboard.enabled",
        False,
        SWITCH,
        "A ConfigMap with our dashboard for Grafana, for the sidecar of its chart.",
        True,
    )
    yield Value(
        "dashboard.labels",
        {"grafana_dashboard": "1"},
        TEXTS,
        "Labels that the sidecar of your Grafana looks for.",
        {"grafana_dashboard": "yes"},
        ("dashboard.enabled=true",),
    )
