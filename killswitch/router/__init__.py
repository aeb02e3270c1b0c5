"""What a service imports: which model serves a user, and how it went.

::

    from killswitch.router import CohortMetrics, Router

    router = Router("support-copilot", store="etcd://etcd:2379", control="model-old")
    metrics = CohortMetrics(router)

    route = router.route(user_id)
    with metrics.request(route, user=user_id) as request:
        ...

Standard library and prometheus-client only. `docs/router.md` is the guide.
"""

from killswitch.flags.bucketing import bucket
from killswitch.model import Cohort
from killswitch.router.counting import CohortMetrics
from killswitch.router.feedback_tokens import BadToken, FeedbackTokens
from killswitch.router.outcomes import Outcome
from killswitch.router.phrases import Phrases, Refusal
from killswitch.router.refusals import refusal_signal, refused
from killswitch.router.request import ServedRequest
from killswitch.router.roles import Roles
from killswitch.router.route_types import Route, RouteReason
from killswitch.router.router import Router

__all__ = [
    "BadToken",
    "Cohort",
    "CohortMetrics",
    "FeedbackTokens",
    "Outcome",
    "Phrases",
    "Refusal",
    "Roles",
    "Route",
    "RouteReason",
    "Router",
    "ServedRequest",
    "bucket",
    "refusal_signal",
    "refused",
]
