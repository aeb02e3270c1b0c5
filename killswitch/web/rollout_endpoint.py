"""One rollout as a page of its own, ``/rollouts/support-copilot?span=6h``: charts, routers, incidents and history.

What the flag store has besides the flag is read when someone asks, at most once in `FRESH_FOR` seconds for each
rollout, and pages are made by `Turns`: a client that asks for many must keep neither the store nor a processor busy.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from killswitch.errors import BadDocument, KillswitchError
from killswitch.router.presence import Report, from_document
from killswitch.status.document import explain_document
from killswitch.status.reports import CycleReport
from killswitch.status.rollout_page import Course, StoredFacts, rollout_page
from killswitch.stores import Store, keys
from killswitch.timestamps import to_iso
from killswitch.trends.trend import Span, Trend
from killswitch.trips.flag_history import changes_in, history_of
from killswitch.trips.incidents import incidents_of
from killswitch.web.app import WebContent
from killswitch.web.single_file import NoTurn, SingleFile
from killswitch.web.turns import Turns

FRESH_FOR: Final = 5.0
_KEPT: Final = 64
_WAIT: Final = 3.0  # seconds that a request waits for another one's page
_MOST_ROUTERS: Final = 5_000

Trends = Callable[[str, Span], tuple[Trend, bool] | None]


class RolloutView:
    """What pages of rollouts are made of. ``trends`` gives a trend and whether its gaps are being filled.

    ``dashboard``: a link for a rollout at a moment, None without one. ``monotonic`` gives seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        trends: Trends,
        monotonic: Callable[[], float],
        dashboard: Callable[[str, float], str | None] = lambda _rollout, _at: None,
    ) -> None:
        self._store = store
        self._trends = trends
        self._monotonic = monotonic
        self._dashboard = dashboard
        self._turns = Turns(_WAIT)
        self._known: OrderedDict[str, tuple[float, StoredFacts]] = OrderedDict()

    def page(self, served: WebContent, report: CycleReport, rollout: str, span: Span) -> str | None:
        """The page of a rollout of the report; None while other pages are being made. Never raises."""
        with self._turns.turn() as mine:
            if not mine:
                return None
            one = report.reports[rollout]
            flags = [] if one.flag is None else [one.flag]
            said = explain_document(report, rollout, served.tripped_on(flags), served.roles())
            found = self._trends(rollout, span)
            course = None if found is None else Course(span, *found)
            return rollout_page(
                said, self._facts(rollout), course,
                tick=to_iso(report.tick), dashboard=self._dashboard(rollout, report.tick),
            )  # fmt: skip

    def _facts(self, rollout: str) -> StoredFacts:
        known = self._known.get(rollout)
        if known is None or self._monotonic() - known[0] > FRESH_FOR:
            known = self._known[rollout] = (self._monotonic(), self._read(rollout))
            self._known.move_to_end(rollout)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known[1]

    def _read(self, rollout: str) -> StoredFacts:
        try:
            flag = self._store.get(keys.flag(rollout))
            found = incidents_of(self._store, rollout)
            return StoredFacts(
                history=changes_in(history_of(self._store, rollout)),
                incidents=tuple((one.id, one.incident) for one in found if one.incident is not None),
                routers=self._routers(rollout),
                revision=0 if flag is None else flag.mod_revision,
            )
        except KillswitchError as error:
            return StoredFacts(problem=str(error))

    def _routers(self, rollout: str) -> tuple[Report, ...]:
        reports = []
        for item in self._store.list(keys.routers(rollout)).items[:_MOST_ROUTERS]:
            try:
                reports.append(from_document(item.value))
            except BadDocument:  # anybody's router, anybody's bytes
                continue
        return tuple(one for one in reports if one.rollout == rollout)


def rollout_routes(served: WebContent, view: RolloutView) -> list[Route]:
    """The endpoint, to be mounted next to the others."""
    line = SingleFile(within=_WAIT)

    async def rollout(request: Request) -> Response:
        report = served.latest
        name = request.path_params["rollout"]
        if report is None:
            return PlainTextResponse("no cycle has finished yet; reload in some seconds\n", 503, {"Retry-After": "5"})
        if name not in report.reports:
            return PlainTextResponse("there is no such rollout; the first page lists all of them\n", 404)
        try:
            span = Span(request.query_params.get("span", Span.HOUR))
        except ValueError:
            return PlainTextResponse(f"span must be one of {', '.join(Span)}\n", 400)
        try:
            page = await line.run(lambda: view.page(served, report, name, span))
        except NoTurn:
            page = None
        if page is None:
            return PlainTextResponse("other pages are being made; reload in a second\n", 503, {"Retry-After": "1"})
        return HTMLResponse(page.encode(errors="replace"))

    return [Route("/rollouts/{rollout}", rollout)]
