"""``killswitch test``: runs unit tests of rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from killswitch.cli.histories import progress_bar
from killswitch.cli.invocation import JsonOption, errors_as_messages, print_problems, say, show
from killswitch.preflight.rule_test_files import load_tests
from killswitch.preflight.rule_tests import Mismatch, RuleTestResult, run_test
from killswitch.wording import counted


def command(
    files: Annotated[list[Path], typer.Argument(help="Files of rule tests.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Run rule tests: files with series in promtool's notation, and the verdicts and trips that they should lead to.

    Exits with 1 if an expectation is not met, with 2 if a file must be fixed.
    """
    with errors_as_messages():
        loaded = [(file, test) for file in files for test in load_tests(file)]
        results: list[tuple[Path, RuleTestResult]] = []
        with progress_bar("testing rules") as progress:
            for file, test in loaded:
                results.append((file, run_test(test)))
                progress(len(results) / len(loaded))
    document = {
        "ok": all(result.passed for _, result in results),
        "tests": [
            {
                "file": str(file),
                "name": result.name,
                "ok": result.passed,
                "mismatches": [_document(each) for each in result.mismatches],
            }
            for file, result in results
        ],
    }
    show(document, as_json=as_json, otherwise=lambda: _print(results))
    if not document["ok"]:
        raise typer.Exit(1)


def _document(one: Mismatch) -> dict[str, Any]:
    return {"line": one.line, "what": one.what, "expected": one.expected, "got": one.got}


def _print(results: Sequence[tuple[Path, RuleTestResult]]) -> None:
    for file, result in results:
        for one in result.mismatches:
            print_problems([f"{file}:{one.line}: {result.name}: {one.what}"])
            say(f"    expected: {one.expected}\n    got:      {one.got}")
    failed = sum(not result.passed for _, result in results)
    checked = sum(result.checked for _, result in results)
    done = f"{counted(len(results), 'test')}, {counted(checked, 'expectation')}"
    say(f"{done}: {failed} failed" if failed else f"{done}: all met")
