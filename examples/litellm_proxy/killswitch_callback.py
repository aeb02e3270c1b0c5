"""What `config.yaml` names under ``callbacks``: the LiteLLM proxy loads ``switch`` from here."""

from __future__ import annotations

import os

from killswitch.router import CohortMetrics, Router
from killswitch.router.integrations.litellm import LiteLLMSwitch

router = Router("support-copilot", os.environ["KILLSWITCH_STORE"], control="model-old")
switch = LiteLLMSwitch(router, CohortMetrics(router), canary="model-new")
