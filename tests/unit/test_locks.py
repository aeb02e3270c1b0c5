"""What `make demo` and `make test` install: bounded in pyproject.toml, locked with hashes, and nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
LOCKS = sorted([*REPOSITORY.glob("deploy/requirements*.txt"), *REPOSITORY.glob("compat/*/requirements.txt")])
GROUPS: dict[str, list[str]] = PROJECT["dependency-groups"]
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
BASE: list[str] = PROJECT["project"]["dependencies"]
# the three providers' SDKs probe roles' models; `gateway-api` is for `killswitch follow`
IN_THE_IMAGE = ("daemon", "shadow", "warehouse", "openai", "anthropic", "gemini", "gateway-api", "etcd-tls")
EVERYTHING = [*BASE, *(one for extra in EXTRAS.values() for one in extra if not one.startswith("llm-canary"))]


def locked(path: Path) -> dict[str, str]:
    """Package to version, from a lock file."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE))


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def purpose(name: str) -> Path:
    return REPOSITORY / "deploy" / name


@pytest.mark.parametrize(
    "requirement",
    [*EVERYTHING, *(one for group in GROUPS.values() for one in group), *PROJECT["build-system"]["requires"]],
)
def test_every_dependency_has_an_upper_bound(requirement: str) -> None:
    """A release that nobody has tried must not break an installation by itself."""
    assert re.search(r"<\s*\d|==\s*\d", requirement), requirement


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_locked_package_is_pinned_and_hashed(path: Path) -> None:
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    requirements = re.split(r"\n(?=\S)", text.strip())
    assert len(requirements) > 1
    for requirement in requirements:
        assert re.match(r"[\w.-]+==\S+ ", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", requirement), requirement


@pytest.mark.parametrize(
    ("lock", "declared"),
    [
        ("requirements.txt", [*BASE, *(one for extra in IN_THE_IMAGE for one in EXTRAS[extra])]),
        ("requirements-dev.txt", [*EVERYTHING, *GROUPS["dev"]]),
        ("requirements-build.txt", GROUPS["build"]),
        ("requirements-tools.txt", GROUPS["tools"]),
        ("requirements-mutants.txt", [*BASE, *EXTRAS["daemon"], *GROUPS["mutants"]]),
    ],
)
def test_a_lock_has_everything_that_is_declared(lock: str, declared: list[str]) -> None:
    """A dependency that is added to pyproject.toml alone is missing on a fresh machine."""
    assert {name_of(one) for one in declared} <= {name_of(one) for one in locked(purpose(lock))}


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-build.txt", "requirements-mutants.txt"])
def test_the_image_has_the_versions_that_were_tested(lock: str) -> None:
    tested = locked(purpose("requirements-dev.txt"))
    for name, version in locked(purpose(lock)).items():
        assert tested.get(name, version) == version


@pytest.mark.parametrize("script", ["install.sh", "lock.sh", "audit.sh"])
def test_nothing_is_installed_without_its_hash(script: str) -> None:
    """Every `pip install` names a lock file and asks for hashes, installs from no index, or is `make latest`."""
    text = purpose(script).read_text().replace("\\\n", " ")
    installs = [line for line in text.splitlines() if re.search(r'pip(\[@\]\})?" install\b', line)]
    assert installs
    for line in installs:
        free = "--require-hashes" in line or "--no-index" in line or "--upgrade-strategy eager" in line
        assert free, line
        assert "--only-binary :all:" in line or "--no-index" in line, f"a source distribution builds unpinned: {line}"


def test_the_proxy_is_of_the_release_whose_router_is_tested() -> None:
    proxy = locked(REPOSITORY / "compat/litellm-proxy/requirements.txt")
    router = locked(purpose("requirements-dev.txt"))
    assert proxy["litellm"] == router["litellm"]
