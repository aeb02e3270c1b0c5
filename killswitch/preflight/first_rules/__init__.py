"""The first rule file of a rollout, made of what is in the metric store: found, chosen, measured, written."""
