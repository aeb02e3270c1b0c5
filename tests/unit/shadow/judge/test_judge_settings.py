"""A judge's settings: read from a file, every problem at once, and nothing spent without a limit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from killswitch.errors import BadSettings
from killswitch.shadow.criteria import Measure, criteria_from
from killswitch.shadow.judge.endpoint import endpoint_url
from killswitch.shadow.judge.labels import read_labels
from killswitch.shadow.judge.opening import open_judge
from killswitch.shadow.judge.settings import JudgeSettings, load_judge_settings


def test_a_section_of_a_file_is_read_and_options_go_first(tmp_path: Path) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text("judge:\n  model: claude-4\n  url: https://api.example/v1\n  share: 0.2\n  temperature: null\n")
    settings = load_judge_settings(path, share=0.5, model=None)
    assert (settings.model, settings.share, settings.temperature) == ("claude-4", 0.5, None)
    path.write_text('{"model": "claude-4", "url": "https://api.example"}')
    assert load_judge_settings(path).by.judge == "claude-4"


def test_the_examples_of_the_page_are_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "shadow-judge.md").read_text("utf-8")
    example, criteria = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    asked = criteria_from(yaml.safe_load(criteria)["shadow"]["criteria"])
    assert Measure.WIN_RATE in {one.measure for one in asked.each}
    (tmp_path / "judge.yaml").write_text(example)
    settings = load_judge_settings(tmp_path / "judge.yaml")
    assert (settings.protocol, settings.max_pairs_a_day) == ("anthropic", 500)
    (label,) = re.findall(r'`(\{"request".*?\})`', page)
    (tmp_path / "labels.jsonl").write_text(label)
    _, labels = read_labels(tmp_path / "labels.jsonl")
    assert list(labels.values()) == ["control"]


def test_the_page_names_every_key_and_each_default() -> None:
    """An unknown key is refused with a link to that page."""
    page = (Path(__file__).parents[4] / "docs" / "shadow-judge.md").read_text("utf-8")
    rows = [line.split(" | ") for line in page.partition("## Its settings")[2].partition("\n## ")[0].splitlines()]
    said: dict[str, str] = {}
    for row in (row for row in rows if len(row) == 3):
        names = re.findall(r"`(\w+)`", row[0])
        defaults = row[1].replace("`", "").split(", ")
        said |= dict(zip(names, defaults * len(names), strict=False))
    assert said.keys() == JudgeSettings.model_fields.keys()
    words = {None: "none", True: "true", False: "false"}
    for name, field in JudgeSettings.model_fields.items():
        if not field.is_required() and name != "rubric":
            default = field.default
            assert said[name] == (
                words[default] if default is None or isinstance(default, bool) else f"{default}".removesuffix(".0")
            ), name


def test_every_problem_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text("judge:\n  url: https://x/v1\n  shares: 0.2\n  protocol: soap\n  max_pairs_a_day: 0\n")
    with pytest.raises(BadSettings) as refused:
        load_judge_settings(path)
    text = str(refused.value)
    assert "did you mean share?" in text
    assert "judge, max_pairs_a_day: 0 must be 1 or more" in text
    assert "judge, protocol: 'soap' must be openai or anthropic" in text
    assert all(name in text for name in ("model: it is missing", "protocol", "max_pairs_a_day"))


@pytest.mark.parametrize("content", ["- a\n", "judge: 3\n", "judge: [\n", "\xff"])
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "judge.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(BadSettings):
        load_judge_settings(path)
    with pytest.raises(BadSettings, match="cannot be read"):
        load_judge_settings(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("url", "protocol", "endpoint"),
    [
        ("https://api.openai.com/v1", "openai", "https://api.openai.com/v1/chat/completions"),
        ("https://api.anthropic.com", "anthropic", "https://api.anthropic.com/v1/messages"),
        ("http://localhost:8000/", "openai", "http://localhost:8000/v1/chat/completions"),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            "openai",
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        ),
        ("https://x/d/chat/completions?api-version=1", "openai", "https://x/d/chat/completions?api-version=1"),
    ],
)
def test_a_base_becomes_the_endpoint(url: str, protocol: str, endpoint: str) -> None:
    assert endpoint_url(url, protocol) == endpoint  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["", "api.openai.com", "ftp://x", "https://user:secret@x/v1"])
def test_a_bad_address_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(BadSettings) as refused:
        load_judge_settings(None, model="claude-4", url=url)
    assert "secret" not in str(refused.value)


def test_a_judge_without_any_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "judge.json"
    path.write_text('{"model": "claude-4", "url": "https://x/v1", "max_pairs_a_day": null}')
    with (
        pytest.raises(BadSettings, match="nothing limits what it spends"),
        open_judge(load_judge_settings(path), tmp_path, "support"),
    ):
        pass
