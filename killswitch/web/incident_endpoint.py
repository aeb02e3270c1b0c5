"""One incident as a page of its own, at the address that pages link to: ``/incidents/support-copilot.7``.

It is read from the flag store, which keeps incidents after their rollout was re-armed or ended. A client that asks for
many must not keep the store busy: one is read at a time, each at most once in `FRESH_FOR` seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from killswitch.errors import BadDocument, KillswitchError
from killswitch.flags.flag import check_rollout_name
from killswitch.incidents.html import incident_page
from killswitch.incidents.reading import sources_of
from killswitch.incidents.story import story_of
from killswitch.stores import Store, keys
from killswitch.trips.incidents import split_id
from killswitch.web.single_file import SingleFile
from killswitch.web.turns import Turns

FRESH_FOR = 5.0
_KEPT = 64
_WAIT = 1.0  # seconds that a request waits for another one's read


class Busy(KillswitchError):
    """Another incident is being read."""


class IncidentView:
    """Incidents by id, read from the store. ``monotonic`` gives seconds. Any thread may ask.

    ``dashboard``: a link for a rollout at a moment (Unix seconds), None without one.
    """

    def __init__(
        self,
        store: Store,
        *,
        monotonic: Callable[[], float],
        dashboard: Callable[[str, float], str | None] = lambda _rollout, _at: None,
    ) -> None:
        self._store = store
        self._dashboard = dashboard
        self._monotonic = monotonic
        self._turns = Turns(_WAIT)
        self._known: OrderedDict[str, tuple[float, str | None]] = OrderedDict()

    def page(self, name: str) -> str | None:
        """The page of the incident of this id, None where there is none. Raises Busy, BadDocument, Unavailable."""
        with self._turns.turn() as mine:
            if not mine:
                raise Busy("another incident is being read; reload in a second")
            known = self._known.get(name)
            if known is None or self._monotonic() - known[0] > FRESH_FOR:
                known = self._known[name] = (self._monotonic(), self._read(name))
                self._known.move_to_end(name)
                while len(self._known) > _KEPT:
                    self._known.popitem(last=False)
            return known[1]

    def _read(self, name: str) -> str | None:
        parts = split_id(name)
        if parts is None:
            return None
        rollout, record = parts
        try:
            check_rollout_name(rollout)
        except BadDocument:
            return None
        if self._store.get(f"{keys.incidents(rollout)}{record}") is None:
            return None
        story = story_of(sources_of(self._store, name))
        return incident_page(story, self._dashboard(story.incident.rollout, story.incident.decided_at))


def incident_routes(view: IncidentView) -> list[Route]:
    """The endpoint, to be mounted next to the others."""
    line = SingleFile(within=_WAIT)

    async def incident(request: Request) -> Response:
        name = request.path_params["incident"]
        try:
            page = await line.run(lambda: view.page(name))
        except BadDocument as error:
            return PlainTextResponse(f"this incident cannot be understood: {error}\n", 500)
        except KillswitchError as error:
            headers = {"Retry-After": "1"}
            return PlainTextResponse(f"the incident cannot be read now: {error}\n", 503, headers)
        if page is None:
            return PlainTextResponse("there is no such incident; the status page lists the rollouts\n", 404)
        return HTMLResponse(page.encode(errors="replace"))

    return [Route("/incidents/{incident}", incident)]
