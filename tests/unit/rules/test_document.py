"""YAML documents: lines for everything, YAML 1.2 scalars, and nothing hostile gets through."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.rules import document
from killswitch.rules.document import MAX_BYTES, read_document, scalar


@pytest.fixture(params=["libyaml", "pure Python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers must say the same; which one runs depends on how PyYAML was built."""
    monkeypatch.setattr(document, "LOADER", yaml.SafeLoader if request.param == "pure Python" else document.LOADER)


@pytest.mark.usefixtures("loader")
def test_every_key_and_item_has_its_line() -> None:
    found = read_document(b"# c\na: 1\nb:\n  c: [x,\n    y]\n  d: {e: f}\n")
    assert found.value == {"a": 1, "b": {"c": ["x", "y"], "d": {"e": "f"}}}
    assert found.problems == []
    assert {
        path: found.line_of(path) for path in [("a",), ("b",), ("b", "c", 1), ("b", "d", "e"), ("b", "nowhere")]
    } == {
        ("a",): 2,
        ("b",): 3,
        ("b", "c", 1): 5,
        ("b", "d", "e"): 6,
        ("b", "nowhere"): 3,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("1:30", "1:30"),
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("2026-04-19", "2026-04-19"),
        ("100", 100),
        ("-1.5", -1.5),
        ("", None),
        ("~", None),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        (b"a: &x 1\n", 1, "the anchor &'x' is not allowed"),
        (b"a: 1\nb: *x\n", 2, "the alias *'x' is not allowed"),
        (b"a: 1\n*x : 2\n", 2, "the alias *'x' is not allowed"),
        (
            b"a: !!python/object/apply:os.system ['true']\n",
            1,
            "the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed",
        ),
        (b"a: !!str 1\n", 1, "the tag 'tag:yaml.org,2002:str' is not allowed"),
        (b"a: !thing {}\n", 1, "the tag '!thing' is not allowed"),
        (b"a: 1\nb: 2\na: 3\n", 3, "'a' is here twice (first in line 1)"),
        (b"a: 1\n5: x\n", 2, "'5' is used as a key"),
        (b"a: 1\ntrue: x\n", 2, "'true' is used as a key"),
        (b"a: 1\n? [x]\n: y\n", 2, "a mapping or list is used as a key"),
        (b"a: 1\n---\nb: 2\n", 2, "a second document begins with ---"),
        (b"a: 1\nb: caf\xe9\n", 2, "byte 0xe9 is not UTF-8"),
        (b"a: 1\nb: x\x00y\n", 2, "it contains the control character U+0000"),
        (b"a: 1\n\x1b[31m: 2\n", 2, "it contains the control character U+001B"),
        (
            "a: 1\n# a comment\u2028b: 2\n".encode(),
            2,
            "it contains the character U+2028, which ends a line in YAML but not in an editor",
        ),
        (
            "a: 1\n# a comment\x85b: 2\n".encode(),
            2,
            "it contains the character U+0085, which ends a line in YAML but not in an editor",
        ),
        ("a: 1\n".encode("utf-16"), 1, "byte 0xff is not UTF-8"),
        (b"a: 1\n\tb: 2\n", 2, "not YAML (a tab in the indentation)"),
        (b"a" * (MAX_BYTES + 1), 1, "the file is larger than 256 kB"),
        (b"a: " + b"[" * 50 + b"]" * 50, 1, "nested deeper than 8 levels"),
        (b"a:\n" + b"".join(b" " * i + b"- \n" for i in range(40)), 10, "nested deeper than 8 levels"),
    ],
)
def test_what_a_rule_file_has_no_use_for_is_refused_at_its_line(content: bytes, line: int, what: str) -> None:
    found = read_document(content)
    assert [(problem.line, problem.what) for problem in found.problems] == [(line, what)]
    assert found.problems[0].fix


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("content", "line"),
    [(b"a: 1\nb: [1, 2\nc: 3\n", 3), (b'a: "x\n', 2), (b"a: 1\n b: 2\n", 2), (b"a: b: c\n", 1), (b"a: @x\n", 1)],
)
def test_broken_syntax_is_refused_near_its_line(content: bytes, line: int) -> None:
    (problem,) = read_document(content).problems
    assert problem.what.startswith("not YAML (")
    assert abs(problem.line - line) <= 1


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa: 1\n",
        b"---\na: 1\n...\n",
        b"a: 1\r\n",
        b"%YAML 1.1\n---\na: 1\n",
    ],
)
def test_byte_order_mark_document_mark_and_dos_lines_are_read(content: bytes) -> None:
    found = read_document(content)
    assert (found.value, found.problems) == ({"a": 1}, [])


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    "content", [b'a: "\\UFFFFFFFF"', b'a: "\\ud800"', b"%YAML 9999999999.1\n---\na: 1", b"a: |99\n x", b"%TAG ! !\n"]
)
def test_hostile_escapes_and_directives_raise_nothing(content: bytes) -> None:
    read_document(content)


@pytest.mark.usefixtures("loader")
@given(st.binary(max_size=400) | st.text(alphabet="ab:-[]{}&*!|>%@`\"'#,?\n \t\\~01.", max_size=200).map(str.encode))
@settings(max_examples=400, deadline=None)
def test_no_bytes_raise_anything(content: bytes) -> None:
    found = read_document(content)
    for problem in found.problems:
        assert problem.line >= 1
        assert f"{problem.what}{problem.fix}".isprintable()


@pytest.mark.parametrize(
    "unit",
    [
        b"[",
        b"{",
        b"- ",
        b"? ",
        b"a: ",
        b"&a ",
        b"!!x ",
        b"'",
        b'"',
        b"a: b\n",
        b"- a\n",
        b"*a ",
        b"[],",
        b"#",
        b"\n",
        b"%",
    ],
)
@pytest.mark.timeout(60)
def test_a_quarter_megabyte_of_anything_ends_soon(unit: bytes) -> None:
    """Quadratic behaviour would take far longer than the timeout."""
    content = unit * (MAX_BYTES // len(unit))
    assert read_document(content) is not None


@pytest.mark.parametrize(
    ("text", "line", "fix"),
    [
        ("a: 1\npage: {slack: #oncall, mention: x}\nb: 2\n", 2, "write '#oncall', with the quotes"),
        ('page: {mention: "<!here>", slack: #oncall}\nwindow: 5m\nb: {c: 2%}\n', 1, "write '#oncall', with the quotes"),
        ("a: {b: '# no comment', c: [1, #two]\nd: 1\n", 1, "write '#two', with the quotes"),
        ("a: 1\ncontrol model-old\nb: 2\n", 2, "write 'control: model-old'"),
        ("a: 1\nb:model\nc: 2\n", 2, "write 'b: model'"),
        ("a: 1\nrules\n  error_rate: {max: 2%}\n", 2, "write 'rules:'"),
        ("a: 1\nwindow 5m", 2, "write 'window: 5m'"),
        ("rules:\n  a: {max 2%}\n", 2, "write 'max: 2%'"),
        ("rules:\n  a: {max:2%}\n", 2, "write 'max: 2%'"),
        ("rules:\n  error_rate {max: 2%}\n  b: 1\n", 2, "write 'error_rate: …'"),
    ],
)
def test_a_mistake_is_found_in_its_own_line(text: str, line: int, fix: str) -> None:
    """A channel that became a comment and a missing colon are reported in their own line."""
    assert [(problem.line, problem.fix) for problem in read_document(text.encode()).problems] == [(line, fix)]


def test_an_ordinary_comment_is_not_blamed() -> None:
    """A comment within brackets is not blamed for another mistake."""
    problem = read_document(b"a: {b: 1, # the first\n  c: 2\nd: 3\n").problems[0]
    assert "with the quotes" not in problem.fix


def test_a_missing_colon_leads_to_one_problem_only() -> None:
    """What a missing colon meant is read, so that nothing else is found missing."""
    assert read_document(b"rules:\n  a: {max 2%}\n").value == {"rules": {"a": {"max": "2%"}}}
