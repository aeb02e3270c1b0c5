"""What a rule file may say about series is PromQL to Prometheus: one refused query would blind a whole group."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from killswitch.model import Matcher, QuantileSignal, QuerySignal, Selector
from killswitch.rules.loading import load_text
from killswitch.rules.presets import PRESETS
from killswitch.rules.selectors import SelectorError, check_regex, matchers_from_mapping, selector_in_words
from tests.servers import prometheus

PROMTOOL = shutil.which(prometheus.PROMTOOL)
# pieces that regular expressions are made of, and that engines disagree about
PIECES = [
    *"ab0_-.|^$*+?(){}[]\\/,:;\"' é",
    *(rf"\{escaped}" for escaped in ("d", "w", "s", "b", "B", "D", ".", "-", "/", "_", " ", "x41", "n", "t")),
    *(rf"\{escaped}" for escaped in ("Z", "A", "z", "Q", "E", "pL", "u0041", "1", "é")),
    *("[a-z]", "[^a]", "[]a]", r"[a\]b]", r"[\d-]", "[a-]", "[[:alpha:]]"),
    *("(?:", "(?i)", "(?i:", "(?=", "(?!", "(?P<n>", "(?<n>", "(?s)", "(", ")", "(a|b)", "(a*)*"),
    *("??", "*?", "+?", "*+", "**", "{2}", "{2,}", "{2,3}", "{,3}", "{1000}", "{1001}", "{3,2}", "{2}?"),
]


def parsed_by_prometheus(selectors: Iterable[str], folder: Path) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None, "promtool is missing; `make servers` installs it"
    rules = [{"record": f"r{i}", "expr": f"sum({selector})"} for i, selector in enumerate(selectors)]
    path = folder / "rules.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}), encoding="utf-8")
    return subprocess.run(
        [PROMTOOL, "check", "rules", str(path)], capture_output=True, text=True, timeout=120, check=False
    )


def accepted(pattern: str) -> bool:
    try:
        check_regex(pattern)
    except SelectorError:
        return False
    return True


def test_prometheus_accepts_every_expression_that_we_accept(tmp_path: Path) -> None:
    """Ours may refuse more than RE2 does, never less."""
    dice = random.Random(20260419)
    candidates = {"".join(dice.choices(PIECES, k=dice.randint(1, 6))) for _ in range(40_000)}
    ours = sorted(filter(accepted, candidates))
    assert len(ours) > 3_000
    result = parsed_by_prometheus((selector_in_words(Selector("x", (Matcher("a", "=~", p),))) for p in ours), tmp_path)
    assert result.returncode == 0, result.stderr[:2000]


@pytest.mark.parametrize("pattern", ["(?=a)", r"\Z", "a**", "(a{100}){100}", "[[:foo:]]"])
def test_what_prometheus_refuses_is_refused_by_us(pattern: str, tmp_path: Path) -> None:
    assert (
        parsed_by_prometheus([selector_in_words(Selector("x", (Matcher("a", "=~", pattern),)))], tmp_path).returncode
        != 0
    )
    assert not accepted(pattern)


def test_any_printable_value_stays_one_value_in_prometheus(tmp_path: Path) -> None:
    dice = random.Random(7)
    alphabet = [c for c in map(chr, range(0x2FF)) if c.isprintable()] + list("\"\\{}'`$#") * 5
    values = ["".join(dice.choices(alphabet, k=dice.randint(0, 20))) for _ in range(3_000)]
    selectors = [Selector("x", matchers_from_mapping({"a": "v" + value})) for value in values]
    selectors += [Selector("x", matchers_from_mapping({"a": [value, "z"]})) for value in values]
    result = parsed_by_prometheus(map(selector_in_words, selectors), tmp_path)
    assert result.returncode == 0, result.stderr[:2000]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_reads_series_prometheus_can_name(preset: str, tmp_path: Path) -> None:
    cohorts = "cohorts: {control: {job: a}, canary: {job: b}}"
    text = f"rollout: r\ncontrol: a/b:1\ncanary: a/b:2\nmetrics: {preset}\n{cohorts}\n"
    (rollout,) = load_text(text.encode()).rollouts
    selectors: list[Selector] = []
    for rule in rollout.rules:
        for signal in (rule.signal, rule.per_user):
            if isinstance(signal, QuantileSignal):
                selectors.append(signal.buckets)
            elif signal is not None and not isinstance(signal, QuerySignal):
                selectors += [*signal.events, *signal.trials]
    result = parsed_by_prometheus(map(selector_in_words, selectors), tmp_path)
    assert result.returncode == 0, result.stderr
