"""A wrapper of Anthropic's client (sync or async): the route names the model, the answer is counted.

::

    llm = RoutedAnthropic(Anthropic(), router=router, metrics=metrics)
    message = llm.for_user(user_id).messages.create(max_tokens=1024, messages=[…])

``create`` and ``parse`` of ``messages``, also with ``stream=True``. Any client of this form will do. The rest is
as in `killswitch.router.integrations.openai`.
"""

from __future__ import annotations

from killswitch.router.integrations.openai import RoutedOpenAI, shadow_ask

__all__ = ["RoutedAnthropic", "shadow_ask"]


class RoutedAnthropic(RoutedOpenAI):
    """``client`` serves both cohorts, or control alone where the canary has a ``canary_client`` of its own."""
