"""Builds and runs `deploy/Dockerfile` without a container engine: its steps, in order, in an empty tree.

A stage's tree begins empty. What a base image would bring (a C library, a shell, Python) is the machine's own,
mounted read-only for the length of one step, in a mount namespace of that step; so a tree holds what the steps
themselves made, and nothing else. Needs root, as any builder does.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = REPOSITORY / "deploy" / "Dockerfile"
_BASE_LINKS = ("bin", "sbin", "lib", "lib64", "lib32")
_BASE_FILES = (
    "passwd",
    "group",
    "shadow",
    "gshadow",
    "login.defs",
    "hosts",
    "resolv.conf",
    "nsswitch.conf",
    "ld.so.cache",
)
_DEVICES = ("null", "zero", "random", "urandom")
# what `docker build` takes over from its caller by itself, and what pip needs behind a proxy with its own CA
_BUILD_ENVIRONMENT = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
                      "PIP_CERT", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT")  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """One instruction: its keyword, its ``--flag=value`` options, and the rest as written."""

    keyword: str
    options: Mapping[str, str]
    rest: str

    @property
    def words(self) -> list[str]:
        """The rest as a list, whether written as JSON or as words."""
        return json.loads(self.rest) if self.rest.startswith("[") else shlex.split(self.rest)


def parse(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, with comments gone and continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    instructions = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        keyword, _, rest = line.strip().partition(" ")
        options = {}
        rest = rest.strip()
        while rest.startswith("--"):
            option, _, rest = rest.partition(" ")
            name, _, value = option[2:].partition("=")
            options[name] = value
            rest = rest.strip()
        instructions.append(Instruction(keyword.upper(), options, rest))
    return instructions


def context(into: Path, ignore: Path) -> Path:
    """The build context: the repository's files that the ignore file (an allow list) lets through."""
    allowed: list[str] = []
    refused: list[str] = []
    for line in ignore.read_text().splitlines():
        if line.startswith("!"):
            allowed.append(line[1:])
        elif line and line != "*" and not line.startswith("#"):
            refused.append(line.removeprefix("**/"))

    def excluded(_folder: str, names: list[str]) -> set[str]:
        return {name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in refused)}

    for name in allowed:
        source, target = REPOSITORY / name, into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=excluded)
        else:
            shutil.copy(source, target)
    return into


@dataclass
class Stage:
    """A tree under way, and what the instructions so far have set."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def build(trees: Path, build_context: Path, text: str) -> Stage:
    """The last stage, built. Raises `StepFailed` with the output of the step that failed."""
    named: dict[str, Stage] = {}
    stage: Stage | None = None
    for step in parse(text):
        if step.keyword == "ARG":
            continue  # the one there is names the base image, which is the machine here
        if step.keyword == "FROM":
            stage = _begin(trees / f"stage-{len(named)}")
            words = step.words
            named[words[2] if len(words) == 3 else str(len(named))] = stage
            continue
        assert stage is not None, "an instruction before FROM"
        _apply(stage, step, named, build_context)
    assert stage is not None
    return stage


class StepFailed(Exception):
    """A RUN step ended with an error; the text is its output."""


def _begin(root: Path) -> Stage:
    root.mkdir(parents=True)
    for name in ("usr", "etc", "proc", "dev", "tmp", "root", "opt", "var"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    for name in _BASE_LINKS:
        if (Path("/") / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for name in _BASE_FILES:
        if (Path("/etc") / name).exists():
            shutil.copy(Path("/etc") / name, root / "etc" / name)
    (root / "etc/ssl").mkdir()
    for name in _DEVICES:
        (root / "dev" / name).touch()
    python = f"{sys.base_prefix}/bin"
    return Stage(root, {"PATH": f"{python}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})


def _apply(stage: Stage, step: Instruction, named: Mapping[str, Stage], build_context: Path) -> None:
    match step.keyword:
        case "RUN":
            _run_step(stage, step.rest)
        case "COPY":
            source = named[step.options["from"]].root if "from" in step.options else build_context
            _copy(stage, source, step.words)
        case "ENV":
            stage.environment.update(word.split("=", 1) for word in shlex.split(step.rest))  # type: ignore[misc]  # pairs
        case "WORKDIR":
            stage.folder = step.rest
            _inside(stage.root, step.rest).mkdir(parents=True, exist_ok=True)
        case "USER":
            stage.user = step.rest
        case "ENTRYPOINT":
            stage.entrypoint = step.words
        case "CMD":
            stage.command = step.words
        case "LABEL" | "EXPOSE" | "STOPSIGNAL" | "HEALTHCHECK":
            pass  # say nothing about what is in the tree
        case other:
            raise AssertionError(f"this builder does not know {other}; teach it")


def _inside(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _copy(stage: Stage, source: Path, words: Sequence[str]) -> None:
    *names, target = words
    into = _inside(stage.root, str(Path(stage.folder) / target))
    for name in names:
        found = _inside(source, name)
        if found.is_dir():
            shutil.copytree(found, into, symlinks=True, dirs_exist_ok=True)
            continue
        to_folder = target.endswith("/") or len(names) > 1
        destination = into / found.name if to_folder else into
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found, destination)


def _run_step(stage: Stage, command: str) -> None:
    passed = {name: os.environ[name] for name in _BUILD_ENVIRONMENT if name in os.environ}
    finished = subprocess.run(
        inside(stage, ["/bin/sh", "-c", command], user=stage.user, environment=passed, read_only=False),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if finished.returncode != 0:
        raise StepFailed(f"RUN {command}\n{finished.stdout}\n{finished.stderr}")


def inside(
    stage: Stage,
    command: Sequence[str],
    *,
    user: str,
    environment: Mapping[str, str] | None = None,
    read_only: bool,
    offline: bool = False,
) -> list[str]:
    """The command that runs ``command`` in the stage's tree as ``user`` (numbers), and in namespaces of its own.

    Its environment is the stage's and ``environment``, and nothing of ours. ``read_only``: the whole tree is,
    but for an empty /tmp. ``offline``: not even loopback.
    """
    root = shlex.quote(str(stage.root))
    mounts = [f"mount --rbind {root} {root}"]
    mounts += [_bind(path, root) for path in ("/usr", "/etc/ssl", *_python_outside_usr())]
    mounts += [f"mount --bind /dev/{name} {root}/dev/{name}" for name in _DEVICES]
    mounts += [f"mount -t proc proc {root}/proc"]
    if read_only:
        mounts += [f"mount -t tmpfs -o mode=1777,size=64m tmpfs {root}/tmp", f"mount -o remount,bind,ro {root}"]
    uid, gid = user.split(":")
    rights = f"--reuid {uid} --regid {gid} --clear-groups"
    if uid != "0":
        rights += " --no-new-privs --bounding-set=-all --inh-caps=-all"
    # the stage's own values come last, as ENV does after what a builder passes on
    variables = shlex.join(f"{name}={value}" for name, value in {**(environment or {}), **stage.environment}.items())
    there = f'/bin/sh -c \'cd "$0" && exec "$@"\' {shlex.quote(stage.folder)}'
    enter = f'exec chroot {root} /usr/bin/setpriv {rights} /usr/bin/env -i {variables} {there} "$@"'
    namespaces = ["--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
    if offline:
        namespaces.append("--net")
    return ["unshare", *namespaces, "/bin/sh", "-ec", "\n".join([*mounts, enter]), "sh", *command]


def _python_outside_usr() -> list[str]:
    return [] if sys.base_prefix.startswith("/usr/") or sys.base_prefix == "/usr" else [sys.base_prefix]


def _bind(path: str, root: str) -> str:
    target = f"{root}{shlex.quote(path)}"
    return f"mkdir -p {target}; mount --bind {shlex.quote(path)} {target}; mount -o remount,bind,ro {target}"
