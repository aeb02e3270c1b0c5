"""The web pages in a real Chromium: at a phone's width and at a desk's, in both themes, by keyboard and by reader.

``KILLSWITCH_TEST_SCREENSHOTS=folder`` keeps the pictures, so that a person can look at them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.flags import incident as incidents
from killswitch.flags.change import to_document as change_document
from killswitch.flags.document import to_document as flag_document
from killswitch.stores import Put, keys
from killswitch.trends.document import to_document as trend_document
from killswitch.trends.trend import Span, Trend
from killswitch.web.incident_endpoint import IncidentView, incident_routes
from killswitch.web.rollout_endpoint import RolloutView, rollout_routes
from tests.doubles import web_pages
from tests.doubles.clock import VirtualClock
from tests.doubles.html_reader import HOSTILE
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.doubles.served import Served, listening
from tests.servers.chromium import Chromium, Theme, installed

pytestmark = pytest.mark.skipif(installed() is None, reason="no chromium on the path: apt-get install chromium")

PAGES = {
    "first": "/",
    "rollout": f"/rollouts/{web_pages.NAME}",
    "week": f"/rollouts/{web_pages.NAME}?span=7d",
    "incident": f"/incidents/{web_pages.NAME}.7",
}
EVIL = HOSTILE[0] + HOSTILE[3]
# every text that is shown, and whether it lies within the screen's width; what is off the screen on purpose is not
CUT_OFF = """
Array.from(document.querySelectorAll('main *')).filter(one => one.children.length === 0 && one.textContent.trim())
  .filter(one => !one.closest('thead') && !one.closest('svg') && !one.closest('details:not([open])'))
  .filter(one => { const box = one.getBoundingClientRect();
                   return box.width > 0 && (box.left < -1 || box.right > innerWidth + 1); })
  .map(one => one.textContent.trim())
"""

# words of letters, such as a button's name or a column's, that are on two lines; ids and model names may be
BROKEN = """
(() => { const found = [], walk = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode;
    if (node.parentElement.closest('svg, thead, details:not([open])')) continue;
    for (const word of node.data.matchAll(/(?<=^|[ ,;:(])[A-Za-z]{2,16}(?=$|[ ,;:).])/g)) {
      const range = document.createRange();
      range.setStart(node, word.index); range.setEnd(node, word.index + word[0].length);
      const tops = new Set(Array.from(range.getClientRects()).map(box => Math.round(box.top)));
      if (tops.size > 1) found.push(word[0]);
    }
  }
  return found; })()
"""


def _trends(name: str, span: Span) -> tuple[Trend, bool] | None:
    return web_pages.trend(span, name), False


def _store() -> MemoryStore:
    server = MemoryServer(VirtualClock())
    one = web_pages.incident()
    evil = replace(one, generation=8, reason=EVIL, by=EVIL)
    writes = [
        Put(keys.flag(web_pages.NAME), flag_document(web_pages.tripped())),
        Put(keys.incident(web_pages.NAME, 7), incidents.to_document(one)),
        Put(keys.incident(web_pages.NAME, 8), incidents.to_document(evil)),
        Put(keys.incident_trend(web_pages.NAME, 7), trend_document(web_pages.trend())),
    ]
    for number, change in enumerate(web_pages.facts().history):
        key = keys.flag_change(web_pages.NAME, change.at, 7, number, change.deed.value)
        writes.append(Put(key, change_document(change)))
    server.commit("controller", (), writes)
    return MemoryStore(server, "web")


@pytest.fixture(name="base", scope="module")
def served() -> Iterator[str]:
    clock = VirtualClock()
    one = Served(latest=web_pages.report(), incidents={web_pages.NAME: web_pages.incident()})
    store = _store()
    views = RolloutView(store, trends=_trends, monotonic=clock.monotonic)
    routes = [
        *rollout_routes(one, views), *incident_routes(IncidentView(store, monotonic=clock.monotonic)),
    ]  # fmt: skip
    with listening(one, routes) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(name="browser", scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.mark.parametrize("width", [390, 800, 1280])
@pytest.mark.parametrize("page", list(PAGES))
def test_no_short_word_is_broken(browser: Chromium, base: str, page: str, width: int) -> None:
    browser.show(base + PAGES[page], width=width, theme="light")
    assert browser.evaluate(BROKEN) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page", list(PAGES))
def test_every_number_is_on_the_screen(browser: Chromium, base: str, page: str, width: int, theme: Theme) -> None:
    browser.show(base + PAGES[page], width=width, theme=theme)
    if folder := os.environ.get("KILLSWITCH_TEST_SCREENSHOTS"):
        browser.picture(Path(folder) / f"{page}-{width}-{theme}.png")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.evaluate(CUT_OFF) == []
    assert browser.problems == []
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if theme == "light" else "rgb(20, 23, 26)")


def test_on_a_phone_each_number_says_what_it_is(browser: Chromium, base: str) -> None:
    browser.show(f"{base}/", width=390, theme="light")
    said = browser.evaluate(
        "Array.from(document.querySelectorAll('td')).map(one => getComputedStyle(one, '::before').content)"
    )
    assert {'"limit"', '"requests"', '"evidence"', '"canary"', '"control"'} <= set(said)
    assert "none" not in said


def test_the_texts_of_charts_can_be_read_on_a_phone(browser: Chromium, base: str) -> None:
    browser.show(base + PAGES["rollout"], width=390, theme="light")
    sizes = browser.evaluate(
        "Array.from(document.querySelectorAll('svg.chart')).map(one => 11 * one.getBoundingClientRect().width / 360)"
    )
    assert len(sizes) >= 5
    assert min(sizes) >= 10.0  # pixels


def test_the_keyboard_goes_through_a_page_in_its_order(browser: Chromium, base: str) -> None:
    browser.show(base + PAGES["rollout"], width=1280, theme="light")
    visited = []
    for _ in range(8):
        browser.press("Tab", 9)
        visited.append(browser.evaluate("document.activeElement.textContent"))
        outline = browser.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        assert browser.evaluate("document.activeElement.getBoundingClientRect().left >= 0")
    assert visited[:2] == ["Skip to the content", "all rollouts"]
    assert visited[3:7] == ["1h", "6h", "24h", "7d"]


def test_a_screen_reader_finds_headings_tables_and_charts(browser: Chromium, base: str) -> None:
    """On a phone too, where the style sheet takes the tables apart."""
    browser.show(base + PAGES["rollout"], width=390, theme="light")
    found = browser.read_aloud()
    roles = [role for role, _ in found]
    assert {"main", "navigation", "heading", "table", "row", "cell", "rowheader"} <= set(roles)
    charts = [name for role, name in found if role in ("image", "img", "graphics-document") and name]
    assert "refusal_rate" in charts
    assert ("heading", "Who did what when") in found


@pytest.mark.parametrize("width", [390, 1280])
def test_hostile_texts_do_nothing(browser: Chromium, base: str, width: int) -> None:
    browser.show(f"{base}/incidents/{web_pages.NAME}.8", width=width, theme="light")
    assert EVIL in browser.evaluate("document.body.textContent")
    assert browser.evaluate("document.querySelectorAll('script, img, iframe').length") == 0
    assert browser.problems == []


def test_the_policy_refuses_what_would_be_injected(browser: Chromium, base: str) -> None:
    """Were a text not escaped, the browser would still refuse to style, load or run anything."""
    browser.show(f"{base}/", width=1280, theme="light")
    browser.evaluate("document.body.insertAdjacentHTML('beforeend', '<style>main { display: none }</style>')")
    assert browser.evaluate("getComputedStyle(document.querySelector('main')).display") == "block"
    browser.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=/x onerror=\"window.ran = 1\">')")
    browser.evaluate("new Promise(done => setTimeout(done, 0))")
    assert browser.evaluate("window.ran === undefined")
    assert any("Content Security Policy" in problem for problem in browser.problems)
