"""The Prometheus source against a real server: numbers to the digit, and faults with their reasons."""

from __future__ import annotations

import json
import math
import socket
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadSettings, Unavailable
from killswitch.model import (
    Buckets,
    Cohort,
    Counts,
    Matcher,
    Measurement,
    QuantileSignal,
    QuerySignal,
    Range,
    RatioSignal,
    Reading,
    Reason,
    Scalar,
    Selector,
    Unreadable,
    Want,
)
from killswitch.net.credentials import HttpCredentials, Secret
from killswitch.sources.prometheus import promql
from killswitch.sources.prometheus.source import Prometheus
from killswitch.verdicts import histogram
from tests.servers.etcd import free_ports
from tests.servers.prometheus import PrometheusServer, openmetrics

START = 1_770_000_000.0
TICK = START + 600
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
HOSTILE = ['a"b', "a|b", "a\\b", "a.*", "(", "line\nbreak", "größe", '"} or vector(1) or x{a="', "", "canary$"]
REQUESTS = Selector("llm_requests_total")
FAILED = Selector("llm_requests_total", (Matcher("outcome", "!~", "ok|success"),))


def label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def history() -> str:
    series = {}
    stamps = [START + 7.3 + 15 * at for at in range(50)]
    for rate, cohort in enumerate(Cohort, 3):
        for outcome, share in (("ok", 10), ("error", 1), ("timeout", 2)):
            name = f'llm_requests_total{{cohort="{cohort}",outcome="{outcome}"}}'
            series[name] = [(stamp, 1000 + rate * share * at) for at, stamp in enumerate(stamps)]
        for le, share in (("100", 3), ("250", 8), ("1000", 9), ("+Inf", 10)):
            name = f'llm_latency_ms_bucket{{cohort="{cohort}",le="{le}"}}'
            series[name] = [(stamp, 1000 * share + rate * share * at) for at, stamp in enumerate(stamps)]
    for at, service in enumerate(HOSTILE, 1):
        name = f'hostile_total{{service="{label(service)}",cohort="canary"}}'
        series[name] = [(stamp, 1000 + at * step) for step, stamp in enumerate(stamps)]
    for cohort in Cohort:  # judged counters that a service begins to have later
        for name, share in (("judged_total", 10), ("judged_failed_total", 3)):
            late = [(stamp, share * at) for at, stamp in enumerate(stamps) if at >= 25]
            series[f'{name}{{cohort="{cohort}"}}'] = late
    series['requests_made{cohort="canary"}'] = [(stamp, 1000 + 15 * at) for at, stamp in enumerate(stamps)]
    return openmetrics(series)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    with PrometheusServer(tmp_path_factory.mktemp("prometheus"), history=history()) as server:
        yield server


@pytest.fixture
def source(server: PrometheusServer) -> Iterator[Prometheus]:
    source = Prometheus(server.url)
    yield source
    source.close()


def want(signal: RatioSignal | QuantileSignal | QuerySignal, **more: object) -> Want:
    return Want("r", str(signal), "window", signal, COHORTS, 300.0, **more)  # type: ignore[arg-type]


def canary(source: Prometheus, wanted: Want, tick: float = TICK, seconds: float = 10.0) -> Measurement:
    return source.read([wanted], tick, Deadline(seconds))[wanted.key].canary


def test_a_window_is_what_a_dashboard_shows(source: Prometheus, server: PrometheusServer) -> None:
    found = canary(source, want(RatioSignal((FAILED,), (REQUESTS,))))
    assert isinstance(found, Counts)
    matchers = 'cohort="canary",outcome!~"ok|success"'
    # Prometheus 2 is asked for a millisecond less, so that its windows hold what those of 3 do
    rel = 0.0 if server.left_open else 1e-5
    events = server.value(f"sum(increase(llm_requests_total{{{matchers}}}[5m]))", TICK)
    trials = server.value('sum(increase(llm_requests_total{cohort="canary"}[5m]))', TICK)
    assert (found.events, found.trials) == pytest.approx((events, trials), rel=rel, abs=0.0)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.79, 0.85, 0.95])
def test_a_quantile_is_what_histogram_quantile_shows(
    share: float, source: Prometheus, server: PrometheusServer
) -> None:
    found = canary(source, want(QuantileSignal(Selector("llm_latency_ms_bucket"), share, 0.001)))
    assert isinstance(found, Buckets)
    query = f'histogram_quantile({share}, sum by (le) (increase(llm_latency_ms_bucket{{cohort="canary"}}[5m]))) / 1000'
    assert histogram.quantile(found, share) == pytest.approx(server.value(query, TICK), rel=1e-9)
    assert histogram.is_saturated(found, share) == (share > 0.9)


def test_the_texts_of_a_reading_give_its_numbers_when_asked_again(source: Prometheus, server: PrometheusServer) -> None:
    wanted = want(RatioSignal((FAILED,), (REQUESTS,)))
    reading = source.read([wanted], TICK, Deadline(10))[wanted.key]
    asked = [server.value(text, TICK) for text in reading.queries]
    assert isinstance(reading.canary, Counts)
    assert isinstance(reading.control, Counts)
    assert asked == [reading.control.events, reading.control.trials, reading.canary.events, reading.canary.trials]


def test_no_label_value_breaks_out_of_its_query(source: Prometheus) -> None:
    wants = [
        Want(f"r{at}", "r", "window", RatioSignal((one,), (one,)), COHORTS, 300.0)
        for at, service in enumerate([*HOSTILE, "a", ".*", "|", "nobody"])
        for one in [Selector("hostile_total", (Matcher("service", "=", service),))]
    ]
    found = [reading.canary for reading in source.read(wants, TICK, Deadline(10)).values()]
    counted = [each.trials for each in found if isinstance(each, Counts)]
    assert counted == pytest.approx([20.0 * at for at in range(1, len(HOSTILE) + 1)], rel=1e-5)
    assert all(isinstance(each, Unreadable) and each.reason is Reason.NO_DATA for each in found[len(HOSTILE) :])


def test_the_servers_range_semantics_are_found_and_steps_exact(source: Prometheus, server: PrometheusServer) -> None:
    """The source finds out how this server reads ranges, so that steps are exact."""
    wanted = Want("r", "e", "step", RatioSignal((FAILED,), (REQUESTS,)), COHORTS, 30.0, Range.STEP)
    assert canary(source, wanted) == Counts(pytest.approx(24.0), pytest.approx(104.0))  # type: ignore[arg-type]
    asked = source.read([wanted], TICK, Deadline(10))[wanted.key].queries[0]
    assert asked.count("[30s]" if server.left_open else "[29999ms]") == 1


def test_an_edge_is_the_same_number_in_every_spelling(tmp_path: Path) -> None:
    """Prometheus 3 keeps the edge ``1`` of a histogram as ``1.0``, where 2 keeps what the service wrote."""
    shares = {"0.5": 0.2, "1": 0.4, "10.0": 0.9, "1e+06": 1.0, "+Inf": 1.0}
    lines = [
        f'whole_bucket{{cohort="canary",le="{le}"}} {1000 * share * at:g} {START + 15 * at}'
        for le, share in shares.items()
        for at in range(50)
    ]
    text = "\n".join(["# TYPE whole histogram", *lines, "# EOF", ""])
    wanted = want(QuantileSignal(Selector("whole_bucket"), 0.5))
    with PrometheusServer(tmp_path, history=text) as server:
        source = Prometheus(server.url)
        found = canary(source, wanted)
        source.close()
        kept = {row["metric"]["le"] for row in server.query("last_over_time(whole_bucket[5m])", TICK)}
        assert "1.0" in kept if server.left_open else "1" in kept
    assert isinstance(found, Buckets)
    assert found.bounds == (0.5, 1.0, 10.0, 1e6, math.inf)
    assert [count / found.counts[-1] for count in found.counts] == pytest.approx(list(shares.values()))


def test_what_the_server_remarks_about_a_name_spoils_no_number(source: Prometheus, server: PrometheusServer) -> None:
    """Prometheus 3 answers ``increase`` of a name without ``_total`` with an info; the number is whole."""
    asked = f"{server.url}/api/v1/query?query=increase(requests_made[5m])&time={TICK}"
    with urllib.request.urlopen(asked, timeout=10) as response:
        envelope = json.load(response)
    assert "warnings" not in envelope
    assert ("infos" in envelope) == server.left_open
    made = (Selector("requests_made"),)
    assert canary(source, want(RatioSignal(made, made))) == Counts(
        pytest.approx(300.0, rel=1e-5),  # type: ignore[arg-type]
        pytest.approx(300.0, rel=1e-5),  # type: ignore[arg-type]
    )


def test_a_free_query_gives_one_number_or_a_reason(source: Prometheus) -> None:
    def free(query: str) -> Measurement:
        return canary(source, want(QuerySignal(query, "vector(1)")))

    assert free("vector(-3.5)") == Scalar(-3.5)
    assert free("scalar(vector(2))") == Scalar(2.0)
    reasons = [
        ("llm_requests_total", Reason.SEVERAL_SERIES),
        ("nothing_like_it", Reason.NO_DATA),
        ("vector(0) / vector(0)", Reason.NUMERIC),
        ("sum(", Reason.SOURCE_REFUSED),
        ("llm_requests_total[5m]", Reason.GARBAGE),
    ]
    for query, reason in reasons:
        found = free(query)
        assert isinstance(found, Unreadable)
        assert (query, found.reason) == (query, reason)


def test_one_bad_query_leaves_the_others_their_numbers(source: Prometheus) -> None:
    good, bad = want(RatioSignal((FAILED,), (REQUESTS,))), want(QuerySignal("sum(", "vector(1)"))
    found = source.read([good, bad], TICK, Deadline(10))
    assert isinstance(found[good.key].canary, Counts)
    assert isinstance(found[bad.key].canary, Unreadable)
    assert found[bad.key].control == Scalar(1.0)


def test_events_are_asked_again_as_soon_as_they_have_trials(
    source: Prometheus, server: PrometheusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service without judged counters is not asked for their events at each tick, and none is missed later."""
    judged = RatioSignal((Selector("judged_failed_total"),), (Selector("judged_total"),))
    wanted = Want("r", "judged", "step", judged, COHORTS, 30.0, Range.STEP)
    asked: list[str] = []
    body = source._client.body

    def note(text: str, ticks: Sequence[float], step: float, deadline: Deadline) -> bytes:
        asked.append(text)
        return body(text, ticks, step, deadline)

    monkeypatch.setattr(source._client, "body", note)

    def read_at(at: int) -> tuple[Reading, int]:
        asked.clear()
        reading = source.read([wanted], START + 30.0 * at, Deadline(10))[wanted.key]
        return reading, sum("judged_failed_total" in text and "last_over_time" in text for text in asked)

    before = [read_at(at) for at in (8, 9, 10)]
    assert [times for _, times in before] == [1, 0, 0]
    assert all(isinstance(one.canary, Unreadable) and one.canary.reason is Reason.NO_DATA for one, _ in before)
    for at in (13, 14, 20):
        fresh = Prometheus(server.url)
        reading, times = read_at(at)
        assert times >= 1
        assert reading == fresh.read([wanted], START + 30.0 * at, Deadline(10))[wanted.key]
        fresh.close()
    assert (reading.canary, reading.control) == (Counts(6.0, 20.0), Counts(6.0, 20.0))


def test_reading_back_is_cut_to_what_the_server_gives_at_once(source: Prometheus) -> None:
    wants = [want(RatioSignal((FAILED,), (REQUESTS,))), want(QuantileSignal(Selector("llm_latency_ms_bucket"), 0.95))]
    ticks = [START + 0.05 * at for at in range(12_500)]
    found = source.read_back(wants, ticks, Deadline(60))
    assert list(found) == ticks
    for tick in (ticks[6_000], ticks[-1]):
        assert found[tick] == source.read(wants, tick, Deadline(10))


def test_ticks_that_are_not_evenly_spaced_are_read_all_the_same(source: Prometheus) -> None:
    wants = [want(RatioSignal((FAILED,), (REQUESTS,)))]
    ticks = [TICK - 300, TICK - 270, TICK - 120, TICK - 90, TICK - 60, TICK]
    found = source.read_back(wants, ticks, Deadline(10))
    assert found == {tick: source.read(wants, tick, Deadline(10)) for tick in ticks}
    assert source.read_back(wants, [], Deadline(10)) == {}


def test_a_window_without_length_is_no_data(source: Prometheus) -> None:
    signal = RatioSignal((FAILED,), (REQUESTS,))
    for seconds in (0.0, -5.0, math.nan):
        found = canary(source, Want("r", "e", "w", signal, COHORTS, seconds))
        assert isinstance(found, Unreadable)
        assert found.reason is Reason.NO_DATA


def test_the_scrape_interval_is_measured(source: Prometheus) -> None:
    assert source.measure_scrape_interval(REQUESTS, TICK, Deadline(10)) == pytest.approx(15.0)
    missing = source.measure_scrape_interval(Selector("missing"), TICK, Deadline(10))
    assert isinstance(missing, Unreadable)


def test_the_clock_is_the_servers(source: Prometheus) -> None:
    before = time.time()
    assert before - 1 <= source.now(Deadline(10)) <= time.time() + 1


# --- faults -------------------------------------------------------------------------------------

ERROR_RATE = want(RatioSignal((FAILED,), (REQUESTS,)))


def test_nobody_listening_is_source_down() -> None:
    source = Prometheus(f"http://127.0.0.1:{free_ports(1)[0]}")
    found = canary(source, ERROR_RATE)
    assert isinstance(found, Unreadable)
    assert found.reason is Reason.SOURCE_DOWN
    assert "refuses the connection" in found.detail
    with pytest.raises(Unavailable):
        source.now(Deadline(5))
    source.close()


def test_a_paused_server_is_a_timeout_until_it_resumes(tmp_path: Path) -> None:
    """A paused server is a timeout. It is read again when it resumes."""
    with PrometheusServer(tmp_path, history=history()) as server:
        source = Prometheus(server.url)
        server.pause()
        found = canary(source, ERROR_RATE, seconds=0.5)
        server.resume()
        assert isinstance(found, Unreadable)
        assert found.reason is Reason.SOURCE_TIMEOUT
        assert isinstance(canary(source, ERROR_RATE), Counts)
        server.kill()
        found = canary(source, ERROR_RATE)
        assert isinstance(found, Unreadable)
        assert found.reason is Reason.SOURCE_DOWN
        server.start()
        assert isinstance(canary(source, ERROR_RATE), Counts)
        source.close()


def test_a_deadline_that_has_passed_is_a_timeout(source: Prometheus) -> None:
    found = canary(source, ERROR_RATE, seconds=0.0)
    assert isinstance(found, Unreadable)
    assert found.reason is Reason.SOURCE_TIMEOUT


def test_credentials_are_needed_sent_and_never_shown(tmp_path: Path) -> None:
    # bcrypt of "let me in", cost 4
    hashed = "$2b$04$abcdefghijklmnopqrstuuTnc8amReAFiMHxaSoW9U22KarbWnkSm"
    (tmp_path / "password").write_text("let me in\n")
    (tmp_path / "wrong").write_text("open sesame\n")
    web = f'basic_auth_users:\n  watcher: "{hashed}"\n'
    with PrometheusServer(tmp_path / "prometheus", history=history(), web_config=web) as server:

        def basic(file: str) -> Prometheus:
            secret = Secret.from_file(tmp_path / file)
            return Prometheus(server.url, credentials=HttpCredentials(basic=("watcher", secret)))

        good, wrong, nobody = basic("password"), basic("wrong"), Prometheus(server.url)
        assert isinstance(canary(good, ERROR_RATE), Counts)
        for source in (wrong, nobody):
            found = canary(source, ERROR_RATE)
            assert isinstance(found, Unreadable)
            assert found.reason is Reason.SOURCE_REFUSED
            assert "sesame" not in found.detail
            with pytest.raises(AccessDenied):
                source.now(Deadline(5))
            source.close()
        good.close()


def test_a_server_that_speaks_no_http_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = Prometheus(f"http://127.0.0.1:{listener.getsockname()[1]}")
        found = canary(source, ERROR_RATE, seconds=0.3)
        source.close()
    assert isinstance(found, Unreadable)
    assert found.reason is Reason.SOURCE_TIMEOUT


@pytest.mark.parametrize(
    "url", ["prometheus:9090", "ftp://host", "http://", "http://user:secret@host:9090", "http://h/?q=1"]
)
def test_a_bad_or_secret_url_is_refused_without_repeating_it(url: str) -> None:
    """A URL that is invalid or holds a password is refused, and the error does not repeat it."""
    with pytest.raises(BadSettings) as refused:
        Prometheus(url)
    assert "secret" not in str(refused.value)


def test_prometheus_parses_the_quoted_form_of_hostile_labels(server: PrometheusServer) -> None:
    """A real Prometheus parses the quoted form of a hostile label."""
    for at, service in enumerate(HOSTILE, 1):
        query = f"sum(increase({promql.series('hostile_total', [promql.one_of('service', [service, 'other'])])}[5m]))"
        assert server.value(query, TICK) == pytest.approx(20.0 * at)
