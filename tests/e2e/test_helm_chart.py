"""The Helm chart: it renders what kustomize renders, each value does something, and wrong values are refused."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.tools.chart import arrives, schema
from docs.tools.chart_settings import plain_settings, secret_settings
from docs.tools.chart_values import Value, values
from killswitch.rules.units import parse_duration
from tests.e2e.test_alerts import FIRING, QUIET, Series, ask_promtool
from tests.e2e.test_kustomize import KUSTOMIZE, render
from tests.servers.helm import CHART, NAMESPACE, Helm
from tests.servers.image import REPOSITORY

Objects = list[dict[str, Any]]
VALUES = {value.path: value for value in values()}
# what helm adds to every object, and nothing selects by
_OF_HELM = {"app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"}
_CHECKSUM = "checksum/settings"
_OF_THIS_RELEASE = '{job="killswitch",namespace="killswitch"}'


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


def normalised(objects: Objects) -> dict[str, dict[str, Any]]:
    """Objects by kind and name, without what differs on purpose: labels of helm, and how changed settings restart pods.

    kustomize puts a hash into the name of the settings' ConfigMap, the chart puts one into the pods. The chart's alerts
    are of one release.
    """
    text = re.sub(r"killswitch-settings-[a-z0-9]{10}\b", "killswitch-settings", json.dumps(objects))
    found = json.loads(text.replace(json.dumps(_OF_THIS_RELEASE)[1:-1], ""))
    for one in found:
        for metadata in (one["metadata"], one["spec"].get("template", {}).get("metadata", {}) if "spec" in one else {}):
            metadata["labels"] = {k: v for k, v in metadata.get("labels", {}).items() if k not in _OF_HELM}
            metadata["annotations"] = {k: v for k, v in metadata.get("annotations", {}).items() if k != _CHECKSUM}
        one["metadata"].pop("namespace", None)
        volumes = one.get("spec", {}).get("template", {}).get("spec", {})
        if volumes:  # their order means nothing
            volumes["volumes"].sort(key=lambda volume: volume["name"])
            volumes["containers"][0]["volumeMounts"].sort(key=lambda mount: mount["name"])
        for rule in _alerts(one):
            rule["labels"] = {k: v for k, v in rule["labels"].items() if k not in ("release", "namespace")}
    return {f"{one['kind']} {one['metadata']['name']}": one for one in found if one["kind"] != "Namespace"}


def _alerts(one: dict[str, Any]) -> list[dict[str, Any]]:
    return (
        [rule for group in one["spec"]["groups"] for rule in group["rules"]] if one["kind"] == "PrometheusRule" else []
    )


def kustomized(tmp_path: Path, *components: str, **further: Any) -> Objects:
    """What kustomize makes of base with these components; ``further`` goes into the overlay."""
    shutil.copytree(KUSTOMIZE, tmp_path / "kustomize")
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../base"],
        "components": [f"../components/{name}" for name in components],
        **further,
    }
    (tmp_path / "kustomize" / "overlay").mkdir()
    (tmp_path / "kustomize" / "overlay" / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return render(str(tmp_path / "kustomize" / "overlay"))


# component -> the values that do the same
COMPONENTS: dict[str, dict[str, Any]] = {
    "monitoring": {"monitoring.enabled": True},
    "etcd-users": {
        "settings.store_user": "killswitch-controller",
        "secretFiles.store_password_file": "etcd-password",
    },
    "etcd-ca": {"secretFiles.store_ca_file": "etcd-ca.crt"},
    "prometheus-bearer": {"secretFiles.source_bearer_file": "prometheus-bearer"},
    "prometheus-ca": {"secretFiles.source_ca_file": "prometheus-ca.crt"},
    "slack": {"secretFiles.slack_token_file": "slack-token"},
    "pagerduty": {"secretFiles.pagerduty_key_file": "pagerduty-key"},
    "api-token": {"secretFiles.api_token_file": "api-token"},
    "roles": {"roles.existingConfigMap": "killswitch-roles"},
}


class TestSameAsKustomize:
    def test_by_default_it_is_the_base(self, helm: Helm) -> None:
        assert normalised(helm.rendered()) == normalised(render("base"))

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_each_component_is_a_value(self, component: str, helm: Helm, tmp_path: Path) -> None:
        assert normalised(helm.rendered(COMPONENTS[component])) == normalised(kustomized(tmp_path, component))

    def test_every_component_is_compared(self) -> None:
        assert {folder.name for folder in (KUSTOMIZE / "components").iterdir()} == COMPONENTS.keys()

    def test_the_example_is_a_set_of_values(self, helm: Helm) -> None:
        """Most components at once, with rule files, role files, an image and addresses of one's own."""
        example = KUSTOMIZE / "example"
        hosts = ",".join(f"etcd-{number}.etcd.platform.svc:2379" for number in range(3))
        listed = yaml.safe_load((example / "kustomization.yaml").read_text())["components"]
        components = {Path(path).name for path in listed} - {"roles"}  # it has role files of its own
        mine = {key: value for name in components for key, value in COMPONENTS[name].items()}
        mine |= {
            "image.repository": "registry.example.com/platform/killswitch",
            r"rules.files.search-answers\.yaml": (example / "rules" / "search-answers.yaml").read_text(),
            r"roles.files.search_answers\.yaml": (example / "roles" / "search_answers.yaml").read_text(),
            "settings.store": f"etcds://{hosts}",
            "settings.source": "prometheus+https://thanos-query.monitoring.svc:9091",
        }
        assert normalised(helm.rendered(mine)) == normalised(render("example"))


class TestValues:
    @pytest.mark.parametrize("path", VALUES)
    def test_every_value_changes_something(self, path: str, helm: Helm) -> None:
        """A value that does nothing is worse than none: people rely on it."""
        value = VALUES[path]
        assert helm.rendered(_given(value, value.example)) != helm.rendered(_given(value, _before(value)))

    @pytest.mark.parametrize("path", VALUES)
    def test_a_change_arrives_as_the_table_says(self, path: str, helm: Helm) -> None:
        """Kubernetes replaces the pods when their template changes, and otherwise never."""
        value = VALUES[path]
        before = _before(value)
        if arrives(value) == "reload":  # its first file makes a volume; what is meant is a changed file
            ((name, text),) = value.example.items()
            before = {name: f"{text}# changed\n"}
        first, then = (helm.rendered(_given(value, one)) for one in (before, value.example))
        assert first != then
        assert (_template(first) != _template(then)) == (arrives(value) not in ("reload", "at once"))

    def test_the_defaults_satisfy_the_schema(self, helm: Helm) -> None:
        printed = helm.done("lint", str(CHART), "--strict")
        assert "0 chart(s) failed" in printed

    @pytest.mark.parametrize("path", VALUES)
    def test_a_misspelled_value_is_refused(self, path: str, helm: Helm) -> None:
        value = VALUES[path]
        *parents, name = path.split(".")
        misspelled = ".".join([*parents, f"{name}x"])
        assert f"{name}x" in helm.refusal({misspelled: value.example})

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"replicas": 1}, "replicas"),
            ({"settings.intervall": "30s"}, "at '/settings': additional properties 'intervall' not allowed"),
            ({"settings.slack_token_file": "/tmp/x"}, "slack_token_file"),
            ({"settings.listen": "0.0.0.0:1"}, "listen"),
            ({"settings.interval": 1.5}, "interval"),
            ({"secretFiles.slack_token": "slack-token"}, "slack_token"),
            ({"secretFiles.slack_token_file": "../token"}, "slack_token_file"),
            ({r"rules.files.a\.txt": "rollout: a"}, "at '/rules/files': additional properties 'a.txt' not allowed"),
            ({r"rules.files.a\.yaml": "rollout: a", "rules.existingConfigMap": "b"}, "exclude each other"),
            ({r"roles.files.a\.yaml": "role: a", "roles.existingConfigMap": "b"}, "exclude each other"),
            ({"secret.create": {"a": "b"}, "secret.existing": "c"}, "exclude each other"),
            ({"secret.create": {"a": "b"}, "secretFiles.slack_token_file": "slack-token"}, "add it there"),
            ({"image.digest": "sha256:1"}, "digest"),
            ({"networkPolicy.internet.cidrs": ["everywhere"]}, "cidrs"),
            ({"settings.interval": 30}, "at '/settings/interval': got number, want string"),
            ({"settings.lag": "soon"}, "at '/settings/lag': 'soon' does not match"),
            ({"settings.console_pages": "flase"}, "console_pages"),
            ({"settings.fallback": "pager"}, "'pagerduty'"),
            ({"settings.source": ""}, "settings.source is missing"),
            ({"settings.source": None}, "settings.source is missing"),
            ({"settings.store": None}, "settings.store is missing"),
            ({"settings.store": "sqlite:///tmp/flags.db"}, "at '/settings/store'"),  # a flag for each pod
            ({"settings.store": "etcds://mine.etcd.svc", "etcd.enabled": True}, "exclude each other"),
            ({"resources": {"limts": {"memory": "1Gi"}}}, "limts"),
            ({"tolerations": [{"kee": "x"}]}, "kee"),
            ({"affinity": {"nodeAfinity": {}}}, "nodeAfinity"),
            ({"monitoring.scrapeInterval": "soon"}, "scrapeInterval"),
            ({"monitoring.enabled": True, "settings.interval": "1m30s"}, "Write at least 360"),
        ],
    )
    def test_a_wrong_value_is_refused_in_words(self, wrong: Mapping[str, Any], said: str, helm: Helm) -> None:
        assert said in helm.refusal(wrong)

    @pytest.mark.parametrize(
        ("setting", "address"),
        [
            ("store", "etcds://a.etcd.svc:2379,etcds://me:hunter2@b.etcd.svc:2379"),
            ("source", "prometheus+https://me:hunter2@prometheus.monitoring.svc:9091"),
            ("smtp_url", "smtp://me:hunter2@mail.example.com:587"),
            ("slack_base_url", "https://hunter2@slack.com/api/"),
        ],
    )
    def test_a_password_in_an_address_is_refused_and_not_shown(self, setting: str, address: str, helm: Helm) -> None:
        """It would be in a ConfigMap, and in the environment that everyone who may read a pod sees."""
        said = helm.refusal({f"settings.{setting}": address})
        assert f"settings.{setting} has a user or a password in its address" in said
        assert "hunter2" not in said

    @pytest.mark.parametrize(
        "rule",
        [
            {"too": [{"podSelector": {}}]},
            {"to": [], "ports": [{"port": 443}]},
            {"to": [{}]},
            {"to": [{"namespaceSelector": {"matchLables": {"team": "a"}}}]},
            {"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "excpt": ["10.1.0.0/16"]}}]},
            {"to": [{"podSelector": {}}], "port": [{"port": 443}]},
            {"to": [{"podSelector": {}}], "ports": [{"prot": 443}]},
        ],
    )
    def test_a_misspelled_rule_does_not_open_the_policy(self, rule: dict[str, Any], helm: Helm) -> None:
        """Kubernetes drops a key that it does not know, and a rule without peers lets the daemon go anywhere."""
        assert "at '/networkPolicy/extraEgress/0" in helm.refusal({"networkPolicy.extraEgress": [rule]})
        mirrored = {"from" if key == "to" else key: one for key, one in rule.items()}
        assert "at '/networkPolicy/extraIngress/0" in helm.refusal({"networkPolicy.extraIngress": [mirrored]})

    @pytest.mark.parametrize("duration", ["30s", "1h30m", "0.5m", "250ms", "1 m"])
    def test_durations_of_the_daemon_are_taken(self, duration: str, helm: Helm) -> None:
        assert _settings(helm.rendered({"settings.claim_ttl": duration}))["KILLSWITCH_CLAIM_TTL"] == duration
        assert parse_duration(duration) > 0

    def test_the_example_address_gives_way_to_the_charts_etcd(self, helm: Helm) -> None:
        """The chart has to know it from an address that someone chose."""
        assert "killswitch-etcd-2" in _settings(helm.rendered({"etcd.enabled": True}))["KILLSWITCH_STORE"]

    def test_every_setting_of_the_daemon_can_be_given(self) -> None:
        """New settings are in the chart as soon as its files are generated."""
        properties = schema(VALUES.values())["properties"]
        assert list(properties["settings"]["properties"]) == sorted(plain_settings())
        assert list(properties["secretFiles"]["properties"]) == sorted(secret_settings())
        assert not set(plain_settings()) & set(secret_settings())

    def test_a_setting_reaches_the_daemon_as_it_was_written(self, helm: Helm) -> None:
        given = {"settings.public_url": "https://example.org/#1", "settings.console_pages": False}
        found = _settings(helm.rendered(given))
        assert found["KILLSWITCH_PUBLIC_URL"] == "https://example.org/#1"
        assert found["KILLSWITCH_CONSOLE_PAGES"] == "false"

    def test_a_default_setting_can_be_taken_away(self, helm: Helm) -> None:
        assert "KILLSWITCH_SCRAPE_INTERVAL" not in _settings(helm.rendered({"settings.scrape_interval": None}))


def _given(value: Value, one: Any) -> dict[str, Any]:
    further = dict(text.split("=", 1) for text in value.together)
    path = value.path
    return {**{name: json.loads(text) for name, text in further.items() if name != path}, path: one}


def _before(value: Value) -> Any:
    """The default, or where an address elsewhere is refused without any block, another block."""
    return ["192.0.2.0/28"] if value.path.endswith((".store.cidrs", ".source.cidrs")) else value.default


def _template(objects: Objects) -> Any:
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    return deployment["spec"]["template"]


def _settings(objects: Objects) -> dict[str, str]:
    (found,) = (one for one in objects if one["metadata"]["name"] == "killswitch-settings")
    data: dict[str, str] = found["data"]
    return data


def _egress(objects: Objects) -> set[tuple[str, int]]:
    """Where the daemon may go: a namespace or a block, and a port."""
    (policy,) = (one for one in objects if one["kind"] == "NetworkPolicy")
    return {
        (
            peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            if "namespaceSelector" in peer
            else peer["ipBlock"]["cidr"],
            port["port"],
        )
        for rule in policy["spec"]["egress"]
        for peer in rule["to"]
        for port in rule["ports"]
    }


ONLY_LINKED = {"public_url", "grafana_url"}  # a person's browser goes there, not the daemon
ALWAYS = {("kube-system", 53), ("0.0.0.0/0", 443)}
PROMETHEUS = ("monitoring", 9091)
ETCD = ("etcd", 2379)


class TestReach:
    """The policy is made from the addresses in the settings, so that it cannot contradict them."""

    @pytest.mark.parametrize(
        ("store", "reached"),
        [
            ("etcd://etcd.data.svc:2379", {("data", 2379)}),
            ("etcds://etcd.data.svc", {("data", 2379)}),
            ("etcds://a.etcd.data.svc.cluster.local:2379,b.etcd.data.svc.cluster.local:2379", {("data", 2379)}),
            ("etcds://a.one.svc:2379,b.two.svc:2380", {("one", 2379), ("two", 2380)}),
            ("etcd://etcd:2379", {("killswitch", 2379)}),
            ("etcd://10.1.2.3:2379", {("10.1.2.3/32", 2379)}),
        ],
    )
    def test_the_flag_store_is_reached(self, store: str, reached: set[tuple[str, int]], helm: Helm) -> None:
        assert _egress(helm.rendered({"settings.store": store})) == ALWAYS | {PROMETHEUS} | reached

    @pytest.mark.parametrize(
        ("source", "reached"),
        [
            ("prometheus+http://prometheus.metrics.svc:9090/prefix", {("metrics", 9090)}),
            ("prometheus+https://thanos.metrics.svc", {("metrics", 443)}),
            ("prometheus+http://thanos.metrics.svc/", {("metrics", 80)}),
            ("scrape+http://a.shop.svc:8000/metrics,b.shop.svc:8001", {("shop", 8000), ("shop", 8001)}),
            ("recording:///tmp/file.om", set()),
        ],
    )
    def test_the_metric_store_is_reached(self, source: str, reached: set[tuple[str, int]], helm: Helm) -> None:
        assert _egress(helm.rendered({"settings.source": source})) == ALWAYS | {ETCD} | reached

    @pytest.mark.parametrize(
        "setting", [name for name in plain_settings() if name.endswith(("_url", "_urls")) and name not in ONLY_LINKED]
    )
    def test_receivers_are_reached_wherever_they_are(self, setting: str, helm: Helm) -> None:
        """Inside the cluster, on the internet at a port of its own, and at an IP address."""
        scheme = "smtp" if setting == "smtp_url" else "http"
        for address, reached in (
            ("receiver.team.svc:9093", ("team", 9093)),
            ("receiver.example.com:2525", ("0.0.0.0/0", 2525)),
            ("10.1.2.3:2525", ("10.1.2.3/32", 2525)),
        ):
            objects = helm.rendered({f"settings.{setting}": f"{scheme}://{address}"})
            assert _egress(objects) == ALWAYS | {ETCD, PROMETHEUS, reached}

    @pytest.mark.parametrize(
        ("setting", "url", "port"),
        [
            ("smtp_url", "smtp://mail.example.com", 587),
            ("smtp_url", "smtps://mail.example.com", 465),
            ("alertmanager_urls", "http://a.example.com,https://b.example.com:9093", 9093),
        ],
    )
    def test_a_receivers_standard_port_is_open(self, setting: str, url: str, port: int, helm: Helm) -> None:
        assert ("0.0.0.0/0", port) in _egress(helm.rendered({f"settings.{setting}": url}))

    def test_an_address_elsewhere_needs_its_blocks(self, helm: Helm) -> None:
        """Without them the policy would keep the daemon from its flag store, which looks like a dead etcd."""
        outside = {"settings.store": "etcds://etcd.example.com:2379"}
        assert "networkPolicy.store.cidrs" in helm.refusal(outside)
        reached = _egress(helm.rendered({**outside, "networkPolicy.store.cidrs": ["10.1.2.0/24", "10.1.3.0/24"]}))
        assert reached == ALWAYS | {PROMETHEUS, ("10.1.2.0/24", 2379), ("10.1.3.0/24", 2379)}
        assert helm.rendered({**outside, "networkPolicy.enabled": False})

    def test_a_service_may_lead_outside(self, helm: Helm) -> None:
        """A Service without pods has addresses of its own, and a policy sees only those."""
        reached = _egress(helm.rendered({"networkPolicy.source.cidrs": ["10.1.2.0/24"]}))
        assert reached == ALWAYS | {ETCD, PROMETHEUS, ("10.1.2.0/24", 9091)}

    def test_the_ports_of_pods_can_differ(self, helm: Helm) -> None:
        """A policy sees the pod's port, where a Service may have mapped another one to it."""
        reached = _egress(helm.rendered({"networkPolicy.source.ports": [10902]}))
        assert reached == ALWAYS | {ETCD, ("monitoring", 10902)}

    def test_exceptions_stay_within_their_block(self, helm: Helm) -> None:
        """Kubernetes refuses an exception that is not inside its block."""
        objects = helm.rendered({"networkPolicy.internet.cidrs": ["0.0.0.0/0", "::/0", "192.0.2.0/24"]})
        (policy,) = (one for one in objects if one["kind"] == "NetworkPolicy")
        blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"] for peer in policy["spec"]["egress"][-1]["to"]}
        assert "169.254.0.0/16" in blocks["0.0.0.0/0"]["except"]  # the cloud's metadata
        assert "100.64.0.0/10" in blocks["0.0.0.0/0"]["except"]  # pods and nodes of some clouds
        assert blocks["::/0"]["except"] == ["fc00::/7", "fe80::/10"]
        assert "except" not in blocks["192.0.2.0/24"]


class TestTwoReleases:
    def test_they_share_no_object_and_select_only_their_own_pods(self, helm: Helm) -> None:
        one, two = (helm.rendered({"monitoring.enabled": True}, release=name) for name in ("alpha", "beta"))
        assert not normalised(one).keys() & normalised(two).keys()
        assert "beta" not in json.dumps(one)
        for item in (*one, *two):
            name = item["metadata"]["name"].partition("-")[0]
            assert item["metadata"]["labels"]["app.kubernetes.io/name"] == name

    @pytest.mark.parametrize("alert", FIRING)
    def test_one_that_is_well_hides_no_alert_of_the_other(self, alert: str, helm: Helm, tmp_path: Path) -> None:
        objects = helm.rendered({"monitoring.enabled": True}, release="alpha")
        (rules,) = (one["spec"]["groups"][0]["rules"] for one in objects if one["kind"] == "PrometheusRule")
        (rule,) = (one for one in rules if one["alert"] == alert)
        series = [*_scraped(FIRING[alert], "alpha"), *_scraped(QUIET, "beta")]
        ask_promtool(alert, series, tmp_path, firing=True, at=timedelta(minutes=20), rule=rule)

    def test_each_alert_says_whose_it_is(self, helm: Helm) -> None:
        """Else the same alert of two releases has equal labels: Alertmanager takes both for one, and pages one."""
        for release, namespace in (("alpha", "killswitch"), ("beta", "killswitch"), ("alpha", "2")):
            objects = helm.rendered({"monitoring.enabled": True}, release=release, namespace=namespace)
            rules = [rule for one in objects for rule in _alerts(one)]
            assert len(rules) == len(FIRING)
            for rule in rules:
                said = {name: rule["labels"][name] for name in ("release", "namespace")}
                assert said == {"release": release, "namespace": namespace}
                assert rule["labels"]["severity"] in ("critical", "warning")

    def test_the_namespace_is_in_the_names_it_answers_to(self, helm: Helm) -> None:
        names = _settings(helm.rendered(namespace="platform"))["KILLSWITCH_HOST_NAMES"].split(",")
        assert names == ["killswitch", *(f"killswitch.platform{end}" for end in ("", ".svc", ".svc.cluster.local"))]


def _scraped(series: Series, job: str) -> Series:
    """With the labels that the Prometheus Operator gives to what it scrapes of a release."""
    return [(name.replace("}", f',job="{job}",namespace="{NAMESPACE}"}}'), values) for name, values in series]


def test_a_created_secret_is_the_one_that_is_mounted(helm: Helm) -> None:
    objects = helm.rendered({"secret.create": {"slack-token": "ä€\n"}, "secretFiles.slack_token_file": "slack-token"})
    (secret,) = (one for one in objects if one["kind"] == "Secret")
    (volume,) = (one["secret"] for one in _template(objects)["spec"]["volumes"] if one["name"] == "secrets")
    assert volume["secretName"] == secret["metadata"]["name"]
    assert secret["data"] == {"slack-token": "w6TigqwK"}


def test_changed_settings_change_the_pods_checksum(helm: Helm) -> None:
    before, after = (_template(helm.rendered({"settings.interval": one})) for one in ("30s", "60s"))
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"]
    assert before["spec"] == after["spec"]


def test_the_values_of_the_guide_are_accepted(helm: Helm, tmp_path: Path) -> None:
    """What docs/helm.md tells people to write, as it is written."""
    (block,) = re.findall(
        r"^```yaml\n(.*?)^```", (REPOSITORY / "docs" / "helm.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "killswitch.yaml").write_text(block)
    (tmp_path / "assistant.yaml").write_text("rollout: assistant\n")
    file = f"rules.files.assistant\\.yaml={tmp_path / 'assistant.yaml'}"
    text = helm.done("template", "killswitch", str(CHART), "-f", str(tmp_path / "killswitch.yaml"), "--set-file", file)
    (rules,) = (one for one in yaml.safe_load_all(text) if one["metadata"]["name"] == "killswitch-rules")
    assert rules["data"] == {"assistant.yaml": "rollout: assistant\n"}


def test_the_chart_has_the_packages_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert (chart["version"], chart["appVersion"]) == (version, version)
