"""LiteLLM asks the internet for its price list when it is imported, unless told to use its own copy."""

from __future__ import annotations

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
