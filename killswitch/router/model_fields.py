"""Fields of a request that name models: by one in ``extra_body`` a gateway would route around the switch."""

MODEL_FIELDS = frozenset({"model", "models", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks"})
