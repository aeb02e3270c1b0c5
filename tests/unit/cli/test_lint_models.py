"""`killswitch lint-models`: what it reads, what it says, and how it exits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from killswitch.cli.app import app
from tests.unit.cli.test_cli_start import heavy, modules_of

pytestmark = pytest.mark.simulation


def lint(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["lint-models", *map(str, arguments)])


def test_a_floating_name_is_said_with_its_place_and_fix(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text('import os\n\nask(model="gpt-4o")\n')
    result = lint(tmp_path)
    assert result.exit_code == 1
    assert result.stdout == (
        f"{tmp_path}/app.py:3:12: gpt-4o floats: its provider may point it at another model; "
        'fix: ask a role: Roles(store).model_for("<role>"), or role:<role>.prod in a rule file, '
        "or pin gpt-4o-2024-11-20\n"
    )
    assert result.stderr == "1 floating name in 1 file; 1 file read\n"


def test_pinned_names_are_clean(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text('ask(model="gpt-4o-2024-08-06")\n')
    result = lint(tmp_path)
    assert (result.exit_code, result.stdout) == (0, "")


def test_json_has_every_field(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: gemini-2.5-flash\n")
    document = json.loads(lint(tmp_path, "--json").stdout)
    (found,) = document["found"]
    assert (found["line"], found["column"], found["name"], found["pin"]) == (1, 8, "gemini-2.5-flash", None)
    assert (document["ok"], document["read"], document["unreadable"], document["too_large"]) == (False, 1, [], [])


@pytest.mark.parametrize(
    "text",
    [
        'ask("gpt-4o")  # lint-models: ignore the judge of an old benchmark\n',
        '# lint-models: ignore the judge of an old benchmark\nask("gpt-4o")\n',
    ],
)
def test_a_reason_excuses_a_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.py").write_text(text)
    result = lint(tmp_path)
    assert result.exit_code == 0
    assert "1 ignored with a reason" in result.stderr


@pytest.mark.parametrize("text", ['ask("gpt-4o")  # lint-models: ignore\n', 'f("gpt-4o") /* lint-models: ignore */\n'])
def test_an_excuse_without_a_reason_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.ts").write_text(text)
    result = lint(tmp_path)
    assert result.exit_code == 1
    assert "its ignore comment has no reason" in result.stdout


def test_a_comment_behind_code_excuses_its_own_line_alone(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('x = 1  # lint-models: ignore because\nask("gpt-4o")\n')
    assert lint(tmp_path).exit_code == 1


def test_what_is_no_text_of_ours_is_left_out(tmp_path: Path) -> None:
    text = 'model = "gpt-4o"\n'
    for folder in (".git", "node_modules/x", ".venv/lib", "__pycache__"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text(text)
    (tmp_path / "binary.py").write_bytes(text.encode() + b"\0\1")
    (tmp_path / "results.jsonl").write_text('{"model": "gpt-4o"}\n')
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "huge.py").write_text(text + "#" * 1_000_000)
    result = lint(tmp_path)
    assert result.exit_code == 0
    assert f"left out, larger than 1 MB: {tmp_path}/huge.py" in result.stderr


def test_the_encodings_of_editors_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes('\ufeffmodel = "gpt-4o"\r\n'.encode())
    (tmp_path / "b.py").write_bytes('model = "gpt-4.1"\r\n'.encode("utf-16"))
    (tmp_path / "c.py").write_bytes(b'name = "\xff\xfe"\nmodel = "o3"\n')
    assert len(lint(tmp_path).stdout.splitlines()) == 3


def test_what_cannot_be_read_is_said_and_is_not_clean(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    os.mkfifo(tmp_path / "pipe")
    result = lint(tmp_path, tmp_path / "absent.py", tmp_path / "pipe")
    assert result.exit_code == 2
    assert f"cannot be read: {tmp_path}/absent.py: No such file or directory" in result.stderr
    assert f"cannot be read: {tmp_path}/pipe: no ordinary file" in result.stderr


def test_a_file_of_aliases_adds_names_and_pins(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text('ask("acme-chat")\nask("gpt-4o")\n')
    mine = tmp_path / "aliases.toml"
    mine.write_text('pinned = ["gpt-4o"]\n[aliases]\nacme-chat = "acme-chat-2026-10-01"\n')
    result = lint(tmp_path / "app.py", "--aliases", mine)
    assert result.stdout.count("\n") == 1
    assert "acme-chat floats" in result.stdout
    assert "or pin acme-chat-2026-10-01" in result.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aliases = 3\n", "`aliases` is no key of this file, or not of its kind"),
        ("[aliases]\na = 1\n", '"" where no pin is known'),
        ("alias = []\n", "remove it, or write one of aliases, pinned, stems, words"),
        ("pinned = [1]\n", 'write pinned = ["acme-chat"]'),
        ("[", "not TOML"),
    ],
)
def test_a_wrong_file_of_aliases_is_refused(tmp_path: Path, text: str, said: str) -> None:
    mine = tmp_path / "aliases.toml"
    mine.write_text(text)
    result = lint(tmp_path, "--aliases", mine)
    assert result.exit_code == 2
    assert said in result.stderr
    assert lint(tmp_path, "--aliases", tmp_path / "none.toml").exit_code == 2


def test_excluded_folders_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.py").write_text('ask("gpt-4o")\n')
    monkeypatch.chdir(tmp_path)
    assert lint().exit_code == 1
    assert lint("--exclude", "tests").exit_code == 0
    assert lint(".", "--exclude", "tests/*").exit_code == 0


def test_a_hostile_name_of_a_file_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J\n.py").write_text('ask("gpt-4o")\n')
    result = lint(tmp_path)
    assert "\x1b" not in result.stdout
    assert result.stdout.count("\n") == 1


def test_the_linter_imports_next_to_nothing(tmp_path: Path) -> None:
    modules = modules_of("lint-models", str(tmp_path))
    assert not heavy(modules)
    assert not modules & {"yaml", "rich", "requests", "killswitch.daemon.settings"}
