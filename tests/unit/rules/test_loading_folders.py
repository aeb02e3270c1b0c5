"""Folders of rule files: all errors at once, and a ConfigMap that is swapped while it is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from killswitch.errors import BadRules
from killswitch.rules.document import MAX_BYTES
from killswitch.rules.loading import load_folder


def write(folder: Path, name: str, rollout: str, more: str = "page: {severity: info}\n") -> Path:
    path = folder / name
    path.write_text(f"rollout: {rollout}\ncontrol: a\ncanary: b\n{more}")
    return path


def refused(path: Path) -> list[str]:
    with pytest.raises(BadRules) as error:
        load_folder(path)
    return [problem.replace(str(path), "F") for problem in error.value.problems]


def test_errors_of_all_files_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "one", "window: 5\n")
    write(tmp_path, "b.yml", "two", "windw: 5m\n")
    write(tmp_path, "c.yaml", "three")
    assert refused(tmp_path) == [
        "F/a.yaml:4: window: '5' has no unit; a duration must be written with one; fix: write 5s if that is meant",
        "F/b.yml:4: unknown key windw; fix: did you mean window?",
    ]


def test_two_files_with_one_rollout_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "same")
    write(tmp_path, "b.yaml", "same")
    assert refused(tmp_path) == [
        f"F/b.yaml:1: rollout 'same' is also in {tmp_path}/a.yaml:1; fix: keep one, or rename it".replace(
            str(tmp_path), "F"
        )
    ]


def test_an_empty_rule_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    assert refused(tmp_path) == [
        "F: no rule files (*.yaml, *.yml): nothing would be watched; fix: add one, see docs/rules.md"
    ]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere") == [
        "F: no such folder or file; fix: name a folder of rule files (--rules or KILLSWITCH_RULES)"
    ]


def test_a_configmap_is_read_once_through_its_symbolic_links(tmp_path: Path) -> None:
    version = tmp_path / "..2026_04_19"
    version.mkdir()
    write(version, "a.yaml", "one")
    (tmp_path / "..data").symlink_to("..2026_04_19")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    (tmp_path / "copy.yaml").symlink_to("..data/a.yaml")
    (tmp_path / ".hidden.yaml").write_text("not: read")
    assert [rollout.name for rollout in load_folder(tmp_path).rollouts] == ["one"]


def test_a_swap_of_the_configmap_while_reading_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, rollout in (("..v1", "old"), ("..v2", "new")):
        (tmp_path / version).mkdir()
        write(tmp_path / version, "a.yaml", rollout)
        write(tmp_path / version, "b.yaml", f"{rollout}-b")
    (tmp_path / "..data").symlink_to("..v1")
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    opened: list[str] = []
    really_open = os.open

    def swap_after_the_first(path: Path, flags: int) -> int:
        descriptor = really_open(path, flags)
        opened.append(str(path))
        if len(opened) == 1:
            (tmp_path / "..new").symlink_to("..v2")
            (tmp_path / "..new").rename(tmp_path / "..data")
        return descriptor

    monkeypatch.setattr(os, "open", swap_after_the_first)
    assert [rollout.name for rollout in load_folder(tmp_path).rollouts] == ["new", "new-b"]


def test_what_is_not_a_readable_file_is_refused_at_once(tmp_path: Path) -> None:
    """What is not a readable file is refused, and never waited for."""
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    (tmp_path / "huge.yaml").write_bytes(b"a: " + b"x" * (10 * MAX_BYTES))
    assert refused(tmp_path) == [
        "F/gone.yaml:1: cannot be read (No such file or directory); fix: make the file readable, or remove it",
        "F/huge.yaml:1: the file is larger than 256 kB; fix: write one file for each rollout; none needs this much",
        "F/loop.yaml:1: cannot be read (Too many levels of symbolic links); fix: make the file readable, or remove it",
        "F/pipe.yaml:1: not a file; fix: name a YAML file or a folder of them",
    ]


def test_a_folder_inside_is_not_read_and_said_so(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "one")
    (tmp_path / "team").mkdir()
    (warning,) = load_folder(tmp_path).warnings
    assert warning.endswith("team:1: folders inside the rule folder are not read; fix: move its rule files up")


def test_one_file_can_be_loaded_by_its_name(tmp_path: Path) -> None:
    assert load_folder(write(tmp_path, "a.yaml", "one")).rollouts[0].name == "one"


def test_canaries_that_read_the_same_series_are_warned_of(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "one")
    write(tmp_path, "b.yaml", "two")  # the same canary, judged twice: no warning
    (tmp_path / "c.yaml").write_text("rollout: three\ncontrol: x\ncanary: y\npage: {severity: info}\n")
    (tmp_path / "d.yaml").write_text("rollout: four\ncontrol: x\ncanary: y\npage: {severity: info}\nmatch: {s: t}\n")
    (warning,) = load_folder(tmp_path).warnings
    assert f"{tmp_path}/c.yaml:1: three and one ({tmp_path}/a.yaml:1) are different canaries" in warning


def test_the_digest_is_of_the_contents_not_of_the_names(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, ("a.yaml", "b.yaml")), (second, ("z.yaml", "c.yaml"))):
        folder.mkdir()
        write(folder, names[0], "one")
        write(folder, names[1], "two")
    assert load_folder(first).digest == load_folder(second).digest
    write(second, "c.yaml", "two", "window: 6m\n")
    assert load_folder(first).digest != load_folder(second).digest
