"""The house rules of the code: small files and functions, one sentence for each module, one name for each thing."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
MODULES = sorted((REPOSITORY / "killswitch").rglob("*.py"))
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))
LINES_OF_A_FILE = 450
LINES_OF_A_FUNCTION = 50
CHARACTERS_OF_A_SENTENCE = 150

# What is over a limit today, with its figure. Nothing may be added, and no figure may grow.
PENDING: dict[str, int] = {}

# A class name has one meaning in the package: a name here is defined in several files, for the reason beside it.
SEVERAL_MEANINGS: dict[str, str] = {}

OLD_CLASSES = re.compile(r"\b(?:Jury|DemoStage|Dossier|OfCase|TwinWatch|Unheard|TrippedOn|OutageBook|FollowUp)\b")
# modules that stood flat in killswitch/ or were renamed inside a folder; a path of a machine (/run/killswitch/) is none
_FLAT = (
    "assembly|baseline|blindness|bounded_http|case|clock_guard|credentials|dead_man|doctor|"
    "dossier|evidence|findings_table|flag|flag_endpoints|flagd|fleet_sight|follow_up|heartbeat|"
    "histogram|history|http_server|incident|incidents_kept|judge|jury|message|name_lookup|"
    "notices|ofrep|outbox|pager|pagers|plot|power|ramp|reports|routers_followed|rule_tests|"
    "rules_in_force|scrape_interval|self_metrics|session|settings|split|status_page|step_counts|"
    "store_outage|switch|tick_clock|twins|unheard"
)
OLD_MODULES = re.compile(
    rf"(?<![/\w])killswitch[./](?:{_FLAT})(?![\w-])"
    rf"|\bfrom killswitch import (?:[\w, ]+, )?(?:{_FLAT})\b"
    r"|(?<![/\w])killswitch/(?:backtest|controller|daemon|status|trips|web)\.py"
    r"|\bsources[./](?:plan|url|answers|promql|exposition|sample_history)\b"
    r"|\bstores[./](?:etcd_\w+|sqlite_\w+)"
    r"|\brouter[./](?:feedback|metrics|routing|workers)\b|\bpages[./]outbox\b|\bevidence[./]bounds\b"
    r"|\bcontroller[./](?:judging|watches)\b|\bkillswitch[./]private_file\b|\bdemo[./]stage\b"
    r"|\bcli[./](?:present|controllers)\b|\bverdicts[./]entry\b|\bweb[./]bounded\b|\bsources[./](?:layouts|seen)\b"
)

# a line without any of these has none of the old modules; the pattern takes seven times as long to say so
_BEFORE_MODULES = (
    "killswitch", "sources", "stores", "router", "pages", "evidence", "controller", "demo", "cli", "verdicts", "web",
)  # fmt: skip


def texts() -> list[Path]:
    """Everything that people read or run, but this file, which must name what is gone."""
    folders = ("killswitch", "tests", "bench", "examples", "docs", "deploy", "rules")
    found = [path for folder in folders for path in (REPOSITORY / folder).rglob("*") if path.suffix in KINDS]
    return [
        path for path in (*found, *REPOSITORY.glob("*.md"), REPOSITORY / "pyproject.toml") if path != Path(__file__)
    ]


KINDS = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".js", ".json"}


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@dataclass(frozen=True)
class Outline:
    """What the rules ask of a module. Its tree is not kept: all trees together cost the collector seconds."""

    docstring: str | None
    functions: tuple[tuple[str, int], ...]
    classes: tuple[str, ...]


@cache
def outline(path: Path) -> Outline:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    classes = (node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_"))
    return Outline(ast.get_docstring(tree), tuple(functions(tree, text.splitlines())), tuple(classes))


def functions(tree: ast.Module, lines: list[str]) -> Iterator[tuple[str, int]]:
    """Name and length of each function, but those with `# long: <reason>` on the `def` line or above it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            reasoned = any(re.search(r"# long: \w", line) for line in lines[max(node.lineno - 2, 0) : node.lineno])
            if not reasoned:
                yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def problem_of(docstring: str | None) -> str | None:
    if not docstring:
        return "write a docstring: what is this file?"
    sentence = re.match(r"(.+?)[.:](?=\s|$)", " ".join(docstring.split("\n\n")[0].split()))
    if not sentence:
        return "the docstring's first sentence ends with a full stop or a colon"
    if len(sentence[0]) >= CHARACTERS_OF_A_SENTENCE:
        return f"the docstring's first sentence is too long: {sentence[0]}"
    return None


def test_a_module_begins_with_one_sentence_that_says_what_it_is() -> None:
    problems = {name_of(path): problem_of(outline(path).docstring) for path in MODULES}
    assert not {name: problem for name, problem in problems.items() if problem}


def test_a_file_is_short() -> None:
    """One idea a file, of tests, too: a longer one is split."""
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in (*MODULES, *TESTS)}
    allowed = {name: max(LINES_OF_A_FILE, PENDING.get(name, 0)) for name in lengths}
    assert not {name: lines for name, lines in lengths.items() if lines > allowed[name]}


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports them by name alone, so that a run of all tests would refuse the second."""
    names = Counter(path.name for path in TESTS if path.name.startswith("test_"))
    assert [name for name, number in names.items() if number > 1] == []


def test_a_function_is_short_or_says_why_not() -> None:
    """Over 50 lines it is split, or has a comment `# long: <reason>`."""
    lengths = [(f"{name_of(path)}:{name}", lines) for path in MODULES for name, lines in outline(path).functions]
    assert not [one for one in lengths if one[1] > max(LINES_OF_A_FUNCTION, PENDING.get(one[0], 0))]


def old_name(line: str) -> re.Match[str] | None:
    return OLD_CLASSES.search(line) or (
        OLD_MODULES.search(line) if any(name in line for name in _BEFORE_MODULES) else None
    )


def test_no_old_name_is_left() -> None:
    """A reader who meets an old name looks for it in vain."""
    found = [
        f"{name_of(path)}:{number}: {hit[0]}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (hit := old_name(line))
    ]
    assert not found


def test_a_class_name_means_one_thing() -> None:
    defined = defaultdict(list)
    for path in MODULES:
        for name in outline(path).classes:
            defined[name].append(name_of(path))
    several = {name: places for name, places in defined.items() if len(places) > 1}
    assert several.keys() == SEVERAL_MEANINGS.keys(), several
