"""Where the label is in an answer."""

from __future__ import annotations

import pytest

from killswitch.errors import BadDocument
from killswitch.roles.label_path import MISSING, label_path, value_at

ANSWER = {"label": "bug", "tags": [{"name": "ui"}, 7], "nothing": None}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", ANSWER),
        ("$.label", "bug"),
        ("$.tags[0].name", "ui"),
        ("$.tags[1]", 7),
        ("$.nothing", None),
        ("$.tags[2]", MISSING),
        ("$.label.deeper", MISSING),
        ("$.label[0]", MISSING),
        ("$.other", MISSING),
    ],
)
def test_a_path_leads_to_a_value_or_nowhere(path: str, found: object) -> None:
    """A JSON null at the place is a value; only a place that is not there is missing."""
    assert value_at(ANSWER, label_path(path)) == found


@pytest.mark.parametrize(
    "path",
    [
        "",
        "label",
        "$label",
        "$.",
        "$..label",
        "$.a b",
        "$[",
        "$[-1]",
        "$[01]",
        "$.a]",
        "$.*",
        "$.a\n",
        "$" + ".a" * 200,
    ],
)
def test_what_is_no_path_is_refused(path: str) -> None:
    """The message names the forms that are known."""
    with pytest.raises(BadDocument, match=r"is no path; write \$"):
        label_path(path)
