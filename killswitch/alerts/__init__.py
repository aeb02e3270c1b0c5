"""Alerts of an Alertmanager that hold or trip a rollout."""
