"""Roles on the status page and in its document: bounded, escaped, damaged ones named."""

from __future__ import annotations

import json
from dataclasses import replace

from killswitch.roles.role import Role, RoleChange
from killswitch.roles.seen import MOST_ROWS, RolesSeen, rows_of
from killswitch.status.document import status_document, status_json
from killswitch.status.roles_html import roles_section
from killswitch.status.web_page import status_page
from tests.doubles.html_reader import row_of
from tests.unit.status.test_status_document import HOSTILE, report

ROLE = Role("support", "model-new", None, "model-old", 3, RoleChange.PROMOTED, 1_790_000_000.0, "ann")


def _seen(*roles: Role, **damaged: str) -> RolesSeen:
    rows, more = rows_of({role.name: role for role in roles}, damaged)
    return RolesSeen(rows, more, {("support-copilot", 3): "role support, upgrade: gate run r1"})


def test_the_page_has_a_row_a_role() -> None:
    page = status_page(status_document("a", report(), 4.0, roles=_seen(ROLE)))
    assert row_of(page, "support")[:4] == ["support", "model-new", "-", "model-old"]


def test_json_says_what_the_page_shows() -> None:
    document = status_document("a", report(), 4.0, roles=_seen(ROLE))
    assert json.loads(status_json("a", report(), 4.0, roles=_seen(ROLE))) == json.loads(json.dumps(document))
    assert document["roles"]["rows"][0]["prod"] == "model-new"


def test_a_damaged_role_comes_first_and_says_what_to_do() -> None:
    section = roles_section(_seen(ROLE, broken="damaged: `killswitch roles export`").document())
    assert section.index("broken") < section.index("support")
    assert "killswitch roles export" in section


def test_names_of_models_do_not_act() -> None:
    section = roles_section(_seen(replace(ROLE, prod=HOSTILE), broken=HOSTILE).document())
    assert "<script" not in section


def test_a_thousand_roles_make_no_long_page() -> None:
    seen = _seen(*(replace(ROLE, name=f"role-{number:04d}") for number in range(1000)))
    assert (len(seen.rows), seen.more) == (MOST_ROWS, 1000 - MOST_ROWS)
    assert "900 more" in roles_section(seen.document())


def test_without_roles_the_page_is_as_before() -> None:
    assert roles_section(RolesSeen().document()) == ""
