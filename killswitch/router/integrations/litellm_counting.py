"""Counts LiteLLM's attempts on the cohort that their request was routed to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from killswitch.model import Cohort
from killswitch.router.counting import CohortMetrics
from killswitch.router.integrations.litellm_calls import CanaryRefused
from killswitch.router.outcomes import Outcome, outcome_of
from killswitch.router.provider_usage import usage_so_far
from killswitch.router.refusals import completion_tokens, failure_signal, refused
from killswitch.router.route_types import Route
from killswitch.router.router import Router


class AttemptCounter:
    """Counts one rollout's attempts; without ``metrics`` none. ``canary``: every name of the canary in LiteLLM.

    ``user_of``: the user of a request's keyword arguments, or None.
    """

    def __init__(
        self,
        router: Router,
        metrics: CohortMetrics | None,
        canary: Collection[str],
        user_of: Callable[[Mapping[str, Any]], object],
    ) -> None:
        self._note_name = f"killswitch {router.rollout}"  # in a request's metadata: what was decided before its outcome
        self._router = router
        self._metrics = metrics
        self._canary = canary
        self._user_of = user_of

    def note(self, named: dict[str, Any], route: Route, field: str) -> None:
        """Decide before the outcome whether this request is judged; its retries and fallbacks keep the decision."""
        metadata = named.get(field)
        if self._metrics is None or not isinstance(metadata, Mapping | None) or self._note_name in (metadata or {}):
            return
        user = self._user_of(named)
        judged = self._metrics.request(route, user=None if user is None else str(user)).judged
        named[field] = {**(metadata or {}), self._note_name: {"judged": judged, "cohort": route.cohort.value}}

    def count(self, event: Mapping[str, Any], answer: object, start: datetime, end: datetime) -> None:
        """Count one attempt on the cohort the request was routed to; an attempt of a fallback elsewhere is not ours."""
        parameters = event.get("litellm_params") or {}
        buckets = [parameters.get("metadata"), parameters.get("litellm_metadata")]
        metadata = next((one for one in buckets if isinstance(one, Mapping) and self._note_name in one), {})
        note = metadata.get(self._note_name)
        if self._metrics is None or not isinstance(note, dict):
            return
        group = metadata.get("deployment_model_name") or metadata.get("model_group")
        # by both: in stage `aa` the cohorts have one model
        served = (group, note.get("cohort"))
        route = next((one for one in self._known_routes() if (one.model, one.cohort.value) == served), None)
        if route is None:
            return
        error = event.get("exception")
        if isinstance(error, CanaryRefused):  # no model was asked
            return
        refusal = refused(answer, self._metrics.phrases) is not None
        outcome = Outcome.ERROR if failure_signal(answer) else Outcome.REFUSED if refusal else Outcome.OK
        if isinstance(error, BaseException):
            outcome = outcome_of(error)
        judged, note["judged"] = bool(note.get("judged")), False  # the first attempt alone is judged
        self._metrics.count_request(
            route,
            outcome,
            (end - start).total_seconds(),
            judged=judged,
            refused=outcome is Outcome.REFUSED or refusal,
            tokens=completion_tokens(answer) or 0,
            usage=usage_so_far(None, answer),
        )

    def _known_routes(self) -> tuple[Route, ...]:
        """Today's routes, and the canary's when it was tripped while this attempt ran."""
        routes = self._router.routes()
        if len(routes) > 1:
            return routes
        control = routes[0]
        return (control, *(control._replace(cohort=Cohort.CANARY, model=name) for name in self._canary))
