"""From readings to a finding for each rule and a decision for each rollout."""
