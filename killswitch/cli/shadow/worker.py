"""``killswitch shadow worker``: compares the service's raw pairs, in a process of its own."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from killswitch.cli.invocation import errors_as_messages
from killswitch.cli.logs import set_up_logs
from killswitch.daemon.settings import without_secrets
from killswitch.errors import BadSettings
from killswitch.net.credentials import Secret
from killswitch.router.key_file import read_key
from killswitch.router.shadow.raw_pair import RawPair
from killswitch.rules.units import UnitError, parse_duration
from killswitch.shadow.comparison import Comparing
from killswitch.shadow.judge.opening import waiting_pairs
from killswitch.shadow.judge.waiting import WaitingPairs
from killswitch.shadow.prompt_class_file import PromptClassFile
from killswitch.shadow.redaction import Redact, hook, redact_forms
from killswitch.shadow.similarity import CharacterGrams, Similarity
from killswitch.shadow.sinks.opening import open_sink
from killswitch.shadow.text_keeping import TextKeeping
from killswitch.shadow.worker import Worker, WorkerSettings
from killswitch.spend import PriceList

SpoolOption = Annotated[
    Path,
    typer.Option(
        "--spool", envvar="KILLSWITCH_SHADOW_SPOOL", help="The service's folder of raw pairs.", show_default=False
    ),
]
RecordsOption = Annotated[
    str,
    typer.Option(
        "--records",
        envvar="KILLSWITCH_SHADOW_RECORDS",
        help="Where records are kept: a folder, an fsspec URL, or clickhouse+http://host:8123/database.",
        show_default=False,
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option("--key-file", envvar="KILLSWITCH_SHADOW_KEY_FILE", help="The key of the hashes, the service's own."),
]
RulesFolderOption = Annotated[
    Path | None,
    typer.Option("--rules", envvar="KILLSWITCH_RULES", help="Folder of rule files.", show_default="none is read"),
]
FormatOption = Annotated[
    Literal["parquet", "jsonl"], typer.Option("--format", help="parquet or jsonl, in a folder or at a URL.")
]
KeepTextsOption = Annotated[
    str | None,
    typer.Option(
        help="How long the texts of pairs that differ are kept, of every rollout, such as 7d.",
        show_default="`shadow: keep_text` of the rule files, else never",
    ),
]
RawForOption = Annotated[str, typer.Option(help="How long raw pairs may wait, such as 7d; then they are deleted.")]
RedactOption = Annotated[
    str | None,
    typer.Option(
        help="module:function that takes personal data out of texts, kept ones and the judge's.",
        show_default="e-mail, card and phone numbers",
    ),
]
PricesOption = Annotated[Path | None, typer.Option(help="A file of prices, for the cost of each answer.")]
SimilarityOption = Annotated[
    str, typer.Option(help="characters, semantic (an extra), or an embedding server's URL: https://host/v1.")
]
EmbeddingModelOption = Annotated[str, typer.Option(help="The embedding server's model.", show_default=False)]
EmbeddingKeyOption = Annotated[Path | None, typer.Option(help="A file with the embedding server's key.")]
ThresholdOption = Annotated[
    float | None,
    typer.Option(help="Similarity from which two texts are alike, 0 to 1.", show_default="the measure's own"),
]
JudgeShareOption = Annotated[float, typer.Option(help="Share of the pairs that wait for the judge, 0 to 1.")]
ClickHouseUserOption = Annotated[str, typer.Option(help="User of ClickHouse.", show_default=False)]
ClickHousePasswordOption = Annotated[Path | None, typer.Option(help="A file with that user's password.")]
MetricsPortOption = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of /metrics on this machine.", show_default="none")
]
OnceOption = Annotated[bool, typer.Option("--once", help="Compare what is in the spool now, and end.")]
DrainOption = Annotated[
    bool, typer.Option("--drain", help="At SIGTERM, compare what is in the spool first, for a spool that ends with it.")
]
LogOption = Annotated[Literal["human", "json"], typer.Option("--log-format", help="human or json.")]

LOG_EVERY = 300.0  # seconds

log = logging.getLogger(__name__)


def command(  # long: an option is a line
    spool: SpoolOption,
    records: RecordsOption,
    kind: FormatOption = "parquet",
    key_file: KeyFileOption = None,
    rules: RulesFolderOption = None,
    keep_texts: KeepTextsOption = None,
    raw_for: RawForOption = "7d",
    redact: RedactOption = None,
    prices: PricesOption = None,
    similarity: SimilarityOption = "characters",
    embedding_model: EmbeddingModelOption = "",
    embedding_key_file: EmbeddingKeyOption = None,
    threshold: ThresholdOption = None,
    judge_share: JudgeShareOption = 0.0,
    clickhouse_user: ClickHouseUserOption = "",
    clickhouse_password_file: ClickHousePasswordOption = None,
    metrics_port: MetricsPortOption = None,
    once: OnceOption = False,
    drain: DrainOption = False,
    log_format: LogOption = "human",
) -> None:
    """Compare raw pairs and keep the records, until stopped. Run one next to each spool, outside of the service.

    A kill at any moment loses no pair and records none twice. While the store of the records fails, raw pairs wait.
    """
    set_up_logs(log_format)
    with errors_as_messages():
        measure = measure_of(similarity, threshold, embedding_model, embedding_key_file)
        comparing = Comparing(
            similarity=measure,
            key=read_key(key_file) if key_file is not None else None,
            redact=hook(redact) if redact is not None else redact_forms,
            prices=PriceList.from_file(prices) if prices is not None else None,
            classify=PromptClassFile(spool / ".prompt-classes.json").classify,
        )
        settings = WorkerSettings(spool, raw_for=seconds_of(raw_for, "--raw-for"))
        kept = seconds_of(keep_texts, "--keep-texts") if keep_texts is not None else None
        keeping = TextKeeping(rules=rules, seconds=kept)
        offer = _offering(records, judge_share, comparing.redact)
        report = _Report(metrics_port)
        with closing(open_sink(records, kind, user=clickhouse_user, password_file=clickhouse_password_file)) as sink:
            worker = Worker(
                settings,
                sink,
                comparing,
                wall=time.time,
                keeping=keeping,
                after_try=lambda: report.of(worker),
                offer=offer,
            )
            stopping = None if once else stopped_by_signals()
            log.info("%s -> %s: %s, alike from %g", spool, without_secrets(records), measure.name, measure.threshold)
            if stopping is not None:
                worker.run(stopping)
            if once or drain:
                worker.run_to_the_end()
                report.say(worker)


def seconds_of(text: str, option: str) -> float:
    """Raises BadSettings."""
    try:
        return parse_duration(text)
    except UnitError as error:
        raise BadSettings([f"{option}: {error.what}; {error.fix}"]) from error


def measure_of(name: str, threshold: float | None, model: str, key_file: Path | None) -> Similarity:
    """The measure that ``--similarity`` names, with its own threshold unless one is given. Raises BadSettings."""
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise BadSettings(["--threshold: from 0 to 1"])
    measure: Similarity
    if name == "characters":
        measure = CharacterGrams()
    elif name == "semantic":
        from killswitch.shadow.semantic import semantic_similarity  # noqa: PLC0415  of an extra

        measure = semantic_similarity()
    elif name.startswith(("http://", "https://")):
        from killswitch.shadow.embedding_server import server_similarity  # noqa: PLC0415  most have none

        if not model:
            raise BadSettings(["--similarity with a URL needs --embedding-model, such as text-embedding-3-small"])
        measure = server_similarity(name, model, Secret.from_file(key_file) if key_file is not None else None)
    else:
        raise BadSettings([f"--similarity {name}: characters, semantic, or the URL of an embedding server"])
    if threshold is not None:
        measure.threshold = threshold
    return measure


def _offering(records: str, share: float, redact: Redact) -> Callable[[RawPair], object]:
    """Lets a share of the pairs wait for the judge. Raises BadSettings if there is no folder for them."""
    if not share:
        return lambda pair: None  # noqa: ARG005
    if "://" in records or not 0.0 < share <= 1.0:
        raise BadSettings(["--judge-share: from 0 to 1, and --records a folder of this machine, where the pairs wait"])
    waiting: dict[str, WaitingPairs] = {}

    def offer(pair: RawPair) -> bool:
        if pair.kind != "candidate":
            return False
        if pair.rollout not in waiting:
            waiting[pair.rollout] = waiting_pairs(Path(records), pair.rollout, share=share, redact=redact)
        return waiting[pair.rollout].offer(pair)

    return offer


def stopped_by_signals() -> threading.Event:
    """Set by SIGTERM and SIGINT: the batch under way is finished first."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


class _Report:
    """Says how far the worker has come: in metrics at once, in the log every five minutes."""

    def __init__(self, port: int | None) -> None:
        self._metrics: Any = None
        self._said_at = time.monotonic()
        if port is not None:
            from killswitch.shadow.worker_metrics import WorkerMetrics  # noqa: PLC0415  most have none

            self._metrics = WorkerMetrics()
            try:
                self._metrics.serve(port, "127.0.0.1")
            except OSError as error:
                raise BadSettings([f"--metrics-port {port}: {error.strerror}; take another port"]) from error

    def of(self, worker: Worker) -> None:
        if self._metrics is not None:
            self._metrics.update(worker.progress)
        if time.monotonic() - self._said_at >= LOG_EVERY:
            self._said_at = time.monotonic()
            self.say(worker)

    def say(self, worker: Worker) -> None:
        done = worker.progress
        log.info(
            "%d pairs compared, %d lines broken, %d raw pairs expired; %d files (%d bytes) wait, the oldest for %.0f s",
            done.pairs, done.broken, done.expired, done.waiting_files, done.waiting_bytes, done.oldest_seconds,
        )  # fmt: skip
