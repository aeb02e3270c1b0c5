"""Every command that installs this project, in docs, examples and messages, works from a clone or its wheel."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
NAME = PROJECT["project"]["name"]
PLACES = [
    "README.md",
    "docs/**/*.md",
    "examples/**/*",
    "killswitch/**/*.py",
    "deploy/**/*",
    "rules/**/*",
    "compat/*.md",
]
LINE = re.compile(r"\bpip install ([^\n`]+)")
KNOWN = {"fastapi", "uvicorn", "openai", "litellm", "matplotlib", "openfeature-sdk", "opentelemetry-sdk"}


def lines() -> list[tuple[str, str]]:
    """Place and arguments of each ``pip install`` that a person is told to type."""
    found = []
    for pattern in PLACES:
        for path in sorted(REPOSITORY.glob(pattern)):
            # the integrations' own message is filled in when it is raised: tests/unit/router/test_imports.py
            if path.suffix in {".md", ".py", ".yaml"} and path.parent.name != "integrations":
                for arguments in LINE.findall(path.read_text()):
                    # a message's extra is filled in when it is shown
                    filled = arguments.replace("{extra}", "gate")
                    command = re.split(r"\s+#|\\n|\"[)\],]|(?<=')\"", filled)[0].strip()
                    found.append((str(path.relative_to(REPOSITORY)), command))
    return found


LINES = lines()


def requirements(command: str) -> list[str]:
    return [word for word in shlex.split(command) if not word.startswith("-")]


def test_the_lines_are_found() -> None:
    """The README's three, at least one of docs/router.md, the command line's own and the examples'."""
    assert {place for place, _ in LINES} >= {
        "README.md", "docs/router.md", "killswitch/cli/__init__.py", "killswitch/cli/backtest.py",
        "examples/litellm_router.py", "examples/openfeature_flags.py",
    }  # fmt: skip
    assert len([place for place, _ in LINES if place == "README.md"]) == 3


@pytest.mark.parametrize(("place", "command"), LINES, ids=[f"{place}: {command}" for place, command in LINES])
def test_no_line_installs_this_project_by_its_name(place: str, command: str) -> None:
    """Nobody owns the name on the index: whoever registers it would run code in our users' services."""
    for requirement in requirements(command):
        local = re.fullmatch(
            rf"(\.|dist/[\w.-]+\.whl)(\[[\w,-]+\])?|{NAME}(\[[\w,-]+\])? @ git\+https://\S+@FULL-COMMIT-HASH",
            requirement,
        )
        name = re.split(r"[^\w-]", requirement)[0]
        assert local or name in KNOWN, f"{place}: {requirement}"


def test_no_text_names_the_package_where_pip_would_look_it_up() -> None:
    """In a requirement, the name stands with the address of its source, or in the sentence that warns of it."""
    for pattern in PLACES:
        for path in REPOSITORY.glob(pattern):
            if path.is_file() and "__pycache__" not in path.parts:
                for line in path.read_text(errors="replace").splitlines():
                    if NAME in line:
                        assert " @ " in line or "not published" in line or "pip install" not in line, (path, line)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as the README builds it, without asking an index for the build backend."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-index", "--no-build-isolation", "--no-deps"]
    subprocess.run([*command, "--wheel-dir", str(folder), "."], cwd=REPOSITORY, check=True, timeout=200)
    (built,) = folder.glob("*.whl")
    return built


def test_the_readme_names_the_wheel_that_is_built(wheel: Path) -> None:
    assert f"dist/{wheel.name}" in (REPOSITORY / "README.md").read_text()


def test_every_extra_that_a_line_names_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        provided = set(re.findall(r"^Provides-Extra: (\S+)", archive.read(metadata).decode(), re.MULTILINE))
    named = {
        extra
        for _, command in LINES
        for requirement in requirements(command)
        if requirement.startswith((".", "dist/"))
        for group in re.findall(r"\[([\w,]+)\]", requirement)
        for extra in group.split(",")
    }
    assert named
    assert named <= provided


def test_the_wheel_runs_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """All of the package is in the wheel: its command starts, and the SDK is imported, far from the sources."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = str(home / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True, timeout=120, cwd=tmp_path)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    # the libraries are those of the tests: what is asked is whether the wheel is whole
    (packages / "tested.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = "import killswitch.router, killswitch; print(killswitch.__file__)"
    done = subprocess.run(
        [python, "-I", "-c", script], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path
    )
    assert done.stdout.startswith(str(packages))
    command = [str(home / "bin" / "killswitch"), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100, cwd=tmp_path)
    assert PROJECT["project"]["version"] in done.stdout
