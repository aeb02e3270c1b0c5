"""Turns readings into a finding for each rule and a decision for each rollout."""
