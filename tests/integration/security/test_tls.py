"""Bad certificates through the commands people run: refused in clear words, and no flip waits for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from killswitch.stores import keys
from tests.integration.security.secured import Secured
from tests.servers.certificates import Authority, Certificate

Bad = Callable[[Secured], Certificate]
BAD: dict[str, tuple[Bad, str]] = {
    "expired": (
        lambda site: site.authority.issue("expired", valid_for=timedelta(hours=-1)),
        "its certificate has expired; renew it on the server",
    ),
    "misnamed": (
        lambda site: site.authority.issue("misnamed", hosts=("prometheus.elsewhere",)),
        "use a name or address that is in it",
    ),
    "foreign": (
        lambda site: Authority(site.folder / "foreign", "another authority").issue("server"),
        "its certificate comes from a CA we do not trust; give that CA as the TLS CA file",
    ),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """One rollout for each kind of bad certificate, all armed."""
    with Secured(tmp_path_factory.mktemp("tls"), tuple(BAD)) as site:
        site.arm()
        yield site


def serve_with(site: Secured, certificate: Certificate) -> None:
    """All servers show this certificate from now on: etcd and Prometheus read it again, the doubles are told."""
    shutil.copy(certificate.cert, site.certificate.cert)
    shutil.copy(certificate.key, site.certificate.key)
    site.context.load_cert_chain(certificate.cert, certificate.key)
    site.etcd.members[0].restart()
    site.prometheus.stop()
    site.prometheus.start()


@pytest.fixture
def good(site: Secured, tmp_path: Path) -> Iterator[Certificate]:
    kept = Certificate(tmp_path / "good.pem", tmp_path / "good.key")
    shutil.copy(site.certificate.cert, kept.cert)
    shutil.copy(site.certificate.key, kept.key)
    yield kept
    serve_with(site, kept)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_server_certificate_is_refused_until_it_is_fixed(kind: str, site: Secured, good: Certificate) -> None:
    """A server's bad certificate is refused and reported. A good certificate is accepted again."""
    issue, words = BAD[kind]
    with site.daemon() as daemon:
        daemon.until_healthy()
        serve_with(site, issue(site))
        daemon.until("both stores are refused", lambda: words in (daemon.status()["store_problem"] or ""))
        daemon.until("the source is refused", lambda: words in (daemon.status()["source_problem"] or ""))
        assert f"TLS with https://127.0.0.1:{site.etcd.members[0].client_port} failed: " in daemon.output
        for arguments in (("status", "--url", daemon.url), ("trip", kind, "--reason", "a drill", "--yes")):
            done = site.command(*arguments)
            assert done.returncode == 2
            assert words in done.stderr
            assert "Traceback" not in done.stderr
        serve_with(site, good)
        daemon.until("the flag store is trusted again", lambda: daemon.status()["store_problem"] is None)
        daemon.until("the source is trusted again", lambda: daemon.status()["source_problem"] is None)
    with site.store() as store:
        assert store.list(keys.incidents(kind)).items == ()  # no fault of a certificate trips anything


@pytest.mark.parametrize("kind", BAD)
def test_receivers_with_bad_certificates_delay_no_flip(kind: str, site: Secured, good: Certificate) -> None:
    """Receivers with bad certificates delay no flip, and get the page once the certificates are fixed."""
    issue, words = BAD[kind]
    certificate = issue(site)
    site.context.load_cert_chain(certificate.cert, certificate.key)
    before = len(site.slack.messages), len(site.webhook.pages)
    done = site.command("trip", kind, "--reason", "a drill", "--yes", CONSOLE_PAGES="true", FALLBACK_AFTER="1s")
    assert done.returncode == 0, done.stderr
    assert "tripped, all traffic to control" in done.stdout
    with site.store() as store:
        item = store.get(keys.outbox(f"{kind}.1"))
    assert item is not None
    assert words in item.value.decode()  # the reason stands with the page
    assert (len(site.slack.messages), len(site.webhook.pages)) == before  # nothing was told to a stranger
    site.context.load_cert_chain(good.cert, good.key)
    with site.daemon() as daemon:
        daemon.until("Slack has the page", lambda: len(site.slack.messages) > before[0])
        daemon.until("the webhook has the page", lambda: len(site.webhook.pages) > before[1])
