"""Reads role files and folders: all roles, or every error of every file at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, ValidationError

from killswitch.errors import BadDocument
from killswitch.roles.bars import Bars
from killswitch.roles.config import RoleConfig, RoleEndpoint, RoleWatch
from killswitch.roles.role import check_model
from killswitch.rules.answer_schema import schema_problems
from killswitch.rules.document import Document, Path, Problem, read_document
from killswitch.rules.page_keys import NAME_SOMEONE
from killswitch.rules.role_schema import MAX_MODELS, BarsSpec, RoleFile, RoleModelSpec, RoleWatchSpec
from killswitch.rules.role_values import is_secret_name
from killswitch.rules.schema import PageSpec
from killswitch.rules.schema_errors import did_you_mean, in_words, problems_of
from killswitch.rules.strict_json import strict_json
from killswitch.rules.units import shown
from killswitch.rules.yaml_folder import ROLE_FOLDER, YamlFile, read_bytes, read_files, refuse

DEEPEST = 40  # levels of nesting: schemas are written inline
MAX_NAMED_FILE = 256 * 1024  # bytes of a system prompt or of a schema


@dataclass(frozen=True, slots=True)
class LoadedRoles:
    """A complete and valid set of roles. ``warnings``: printable lines, ``file:line: what; fix: …``.

    ``digest``: identifies the set by its contents, the files that it names included (SHA-256, hexadecimal).
    """

    roles: Mapping[str, RoleConfig]
    warnings: tuple[str, ...]
    digest: str


def load_roles(path: str | FilePath) -> Mapping[str, RoleConfig]:
    """The roles of a folder by name, as `read_roles`. Raises BadRules."""
    return read_roles(path).roles


def read_roles(path: str | FilePath) -> LoadedRoles:
    """Every ``.yaml`` and ``.yml`` file of a folder, or the one file that ``path`` names; one role a file.

    Raises BadRules with every problem of every file, each as ``file:line: what is wrong; fix: …``. Files that a role
    names (system prompt, schema) are read too; its golden set, prices and key are not.
    """
    files, warnings = read_files(path, ROLE_FOLDER)
    return _load(files, warnings, FilePath(path) if FilePath(path).is_dir() else FilePath(path).parent)


def load_role_text(content: bytes, *, name: str = "role.yaml", folder: str | FilePath = ".") -> RoleConfig:
    """The role of one file's bytes, as `load_roles` would read it from ``folder``. Raises BadRules."""
    (role,) = _load([YamlFile(name, content)], [], FilePath(folder)).roles.values()
    return role


def _load(files: Sequence[YamlFile], warnings: Sequence[str], folder: FilePath) -> LoadedRoles:
    built = [_built(file, folder) for file in files]
    problems = [file.line(problem) for file, one in zip(files, built, strict=True) for problem in sorted(one.problems)]
    refuse([*problems, *_twice(files, built)])
    doubts = [file.line(doubt) for file, one in zip(files, built, strict=True) for doubt in sorted(one.warnings)]
    digest = hashlib.sha256("\n".join(sorted(one.digest for one in built)).encode()).hexdigest()
    roles = {one.role.name: one.role for one in built if one.role is not None}
    return LoadedRoles(dict(sorted(roles.items())), (*warnings, *doubts), digest)


@dataclass(slots=True)
class _BuiltRole:
    """One file's role, None if anything is wrong with it. ``name``: the value of ``role:``, if it is valid."""

    role: RoleConfig | None = None
    name: str | None = None
    name_line: int = 1
    digest: str = ""
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def _built(file: YamlFile, folder: FilePath) -> _BuiltRole:
    if file.problem is not None:
        return _BuiltRole(problems=[file.problem])
    document = read_document(file.content, of="role", deepest=DEEPEST)
    built = _BuiltRole(problems=list(document.problems), name_line=document.line_of(("role",)))
    if document.value is None:
        if not built.problems:
            built.problems.append(Problem(1, "the file is empty", "see docs/gate.md for the smallest role file"))
    elif not isinstance(document.value, dict):
        built.problems.append(Problem(1, "the file is not a mapping", "begin with `role: …`; see docs/gate.md"))
    elif "rollout" in document.value and "role" not in document.value:
        fix = "move it to the folder of rule files (--rules)"
        built.problems.append(Problem(document.line_of(("rollout",)), "a rule file, not a role file", fix))
    else:
        _RoleBuilder(document, built, file.name, folder).build(file.content)
    return built


def _twice(files: Sequence[YamlFile], built: Sequence[_BuiltRole]) -> Iterator[str]:
    """Problems of roles that are in two files."""
    first: dict[str, str] = {}
    for file, one in zip(files, built, strict=True):
        if one.name is None:
            continue
        where = f"{file.name}:{one.name_line}"
        if one.name in first:
            yield f"{where}: role {one.name!r} is also in {first[one.name]}; fix: keep one, or rename it"
        first.setdefault(one.name, where)


class _RoleBuilder:
    """Builds the role of one document and collects its problems and warnings."""

    def __init__(self, document: Document, built: _BuiltRole, name: str, folder: FilePath) -> None:
        self._document = document
        self._built = built
        self._name = name
        self._folder = folder
        self._refused: set[str] = set()  # top-level keys that were refused
        self._read: list[bytes] = []  # contents of the files that it names

    def build(self, content: bytes) -> None:
        spec = self._validated()
        if spec is None:
            return
        self._built.name = spec.role if "role" not in self._refused else None
        role = self._role(spec)
        self._hints(spec)
        if not self._built.problems:
            self._built.role = role
            self._built.digest = hashlib.sha256(b"\0".join([content, *self._read])).hexdigest()

    def _problem(self, path: Path, what: str, fix: str) -> None:
        self._built.problems.append(Problem(self._document.line_of(path), what, fix))

    # --- structure ------------------------------------------------------------------------------

    def _validated(self) -> RoleFile | None:
        """The file's keys, without those that are refused."""
        data = self._without_nothings(self._document.value, ())
        for _ in range(2):
            try:
                return RoleFile.model_validate(data)
            except ValidationError as error:
                found = list(problems_of(error, known=_keys_at, unknown=_fix_of_unknown, docs="docs/gate.md"))
                for path, what, fix in found:
                    if self._refused and str(path[0]) in self._refused:
                        continue
                    self._problem(path, what, fix)
                for path, _, _ in found:
                    self._refused.add(str(path[0]))
                    data.pop(str(path[0]), None)
                    if str(path[0]) in _STAND_INS:
                        data[str(path[0])] = _STAND_INS[str(path[0])]
        return None

    def _without_nothings(self, values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in values.items():
            here = (*path, key)
            if value is None:
                fix = "give it a value or remove it (without quotes # begins a comment)"
                self._problem(here, f"{in_words(here)} has no value", fix)
                self._refused.add(str(here[0]))
                if not path and key in _STAND_INS:
                    kept[key] = _STAND_INS[key]
            elif isinstance(value, dict) and key not in _FREE:
                kept[key] = self._without_nothings(value, here)
            else:
                kept[key] = value
        return kept

    # --- meaning --------------------------------------------------------------------------------

    def _role(self, spec: RoleFile) -> RoleConfig:
        endpoint = RoleEndpoint(
            provider=spec.provider,
            url=spec.url,
            key_file=self._file(spec.key_file),
            ca_file=self._file(spec.ca_file),
            proxy=spec.proxy,
            parameters=spec.parameters,
        )
        schema = self._schema(spec)
        bars, watch = spec.bars, spec.watch
        return RoleConfig(
            name=spec.role,
            endpoint=endpoint,
            endpoints=self._endpoints(spec, endpoint),
            answers_as={model: own.answers_as for model, own in spec.models.items() if own.answers_as},
            system=self._system(spec),
            schema=schema,
            label=spec.label if spec.schema_ is not None or "label" in spec.model_fields_set else "$",
            fenced=spec.fences == "allowed",
            max_output_tokens=spec.max_output_tokens,
            timeout=spec.timeout,
            bars=Bars(bars.schema_, bars.agreement, bars.latency, bars.cost, bars.wrong),
            golden=self._file(spec.golden),
            prices=self._file(spec.prices),
            retirements=self._file(spec.retirements),
            max_micros_a_day=spec.max_per_day,
            max_evidence_age=spec.max_evidence_age,
            probe=spec.probe,
            watch=None
            if watch is None
            else RoleWatch(watch.rollout, watch.percent, watch.shadow_rollout, watch.shadow_percent),
            page=spec.page.settings(),
            file=self._name,
        )

    def _endpoints(self, spec: RoleFile, role: RoleEndpoint) -> dict[str, RoleEndpoint]:
        if len(spec.models) > MAX_MODELS:
            self._problem(("models",), f"{len(spec.models)} models", f"name at most {MAX_MODELS}")
        endpoints: dict[str, RoleEndpoint] = {}
        for model, own in spec.models.items():
            try:
                check_model(model)
            except BadDocument:
                self._problem(("models", model), f"{shown(model)} is no model's id", "write the id as requests name it")
            # the role's key is never sent to another server
            elsewhere = own.provider not in (None, role.provider) or own.url not in (None, role.url)
            endpoints[model] = RoleEndpoint(
                provider=own.provider or role.provider,
                url=own.url if elsewhere else role.url,
                key_file=self._file(own.key_file) or (None if elsewhere else role.key_file),
                ca_file=self._file(own.ca_file) or (None if elsewhere else role.ca_file),
                proxy=own.proxy or (None if elsewhere else role.proxy),
                parameters=role.parameters if own.parameters is None else own.parameters,
            )
        return endpoints

    def _system(self, spec: RoleFile) -> str | None:
        if not isinstance(spec.system, Mapping):
            return spec.system
        content = self._named(("system", "file"), spec.system["file"])
        if content is None:
            return None
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            what = f"{shown(spec.system['file'])}: byte 0x{content[error.start]:02x} is not UTF-8"
            self._problem(("system", "file"), what, "save the file as UTF-8")
            return None
        if not text.strip():
            self._problem(
                ("system", "file"), f"{shown(spec.system['file'])} is empty", "write the prompt, or remove it"
            )
        return text

    def _schema(self, spec: RoleFile) -> Mapping[str, Any] | None:
        if spec.schema_ is None:
            return None
        inline = set(spec.schema_) != {"file"} or not isinstance(spec.schema_["file"], str)
        path: Path = ("schema",) if inline else ("schema", "file")
        where = "schema" if inline else shown(spec.schema_["file"])
        schema = spec.schema_ if inline else self._schema_file(path, str(spec.schema_["file"]))
        if schema is None:
            return None
        for inside, what, fix in schema_problems(schema):
            at = f", {in_words(inside)}" if inside else ""
            self._problem((*path, *inside) if inline else path, f"{where}{at}: {what}", fix)
        return schema

    def _schema_file(self, path: Path, name: str) -> Mapping[str, Any] | None:
        content = self._named(path, name)
        if content is None:
            return None
        try:
            schema = strict_json(content.decode("utf-8-sig"))
        except ValueError as error:
            self._problem(path, f"{shown(name)}: not JSON ({shown(str(error))})", "correct the file's syntax")
            return None
        if not isinstance(schema, dict):
            self._problem(path, f"{shown(name)}: not a JSON object", "write the schema as an object")
            return None
        return schema

    def _named(self, path: Path, name: str) -> bytes | None:
        """The content of a file that the role names."""
        content = read_bytes(self._folder / name, MAX_NAMED_FILE)
        if isinstance(content, str):
            self._problem(path, f"{shown(name)}: {content}", "name a file, relative to the role file")
            return None
        if len(content) > MAX_NAMED_FILE:
            self._problem(path, f"{shown(name)}: larger than {MAX_NAMED_FILE // 1024} kB", "write a shorter one")
            return None
        self._read.append(content)
        return content

    def _file(self, name: str | None) -> FilePath | None:
        return None if name is None else self._folder / name

    def _hints(self, spec: RoleFile) -> None:
        if spec.schema_ is None and spec.label != "$" and "label" in spec.model_fields_set:
            fix = "add `schema:`, or write `label: $` for the whole answer"
            self._problem(("label",), f"label is {spec.label!r}, but no schema makes the answers JSON", fix)
        if spec.max_per_day is not None and spec.prices is None and "prices" not in self._refused:
            fix = "add `prices: prices.json`"
            self._problem(("max_per_day",), "max_per_day cannot be held without prices", fix)
        if spec.page.loses:
            what = f"pages, which are {spec.page.severity}, would reach no one"
            self._problem(("page", "receivers"), what, NAME_SOMEONE)
        if spec.page.severity == "critical" and spec.page.slack is not None and not spec.page.rings:
            what, fix = "the page is critical but mentions no one: no phone may ring", "add `mention:` or `pagerduty:`"
            self._built.warnings.append(Problem(self._document.line_of(("page",)), what, fix))


# stand-ins for required keys that were refused, so that the rest of the file can still be checked
_STAND_INS = {"role": "unnamed", "provider": "openai"}
_FREE = frozenset({"schema", "parameters"})  # what is inside them is the provider's and JSON Schema's: null is a value


def _keys_at(path: Path) -> tuple[str, ...]:
    """The known keys under a path."""
    nested: Mapping[str, type[BaseModel]] = {"bars": BarsSpec, "watch": RoleWatchSpec, "page": PageSpec}
    model: type[BaseModel] | None = RoleFile
    if len(path) == 2 and path[0] == "models":
        model = RoleModelSpec
    elif path:
        model = nested.get(str(path[0])) if len(path) == 1 else None
    return () if model is None else tuple(known.alias or name for name, known in model.model_fields.items())


def _fix_of_unknown(path: Path) -> str:
    word = str(path[-1])
    if is_secret_name(word):
        return "write the key into a file and name it with `key_file: …`; remove it here, and replace a key in git"
    if word in ("system_file", "schema_file"):
        key = word.removesuffix("_file")
        return f"write `{key}: {{file: …}}`"
    if word in ("temperature", "top_p", "seed", "response_format", "reasoning_effort"):
        return "indent it under `parameters:`"
    return did_you_mean(word, _keys_at(path[:-1]))
