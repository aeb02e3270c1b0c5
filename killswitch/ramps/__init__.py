"""The ramp: how a rollout goes up by a written plan, one stage at a time and only on proof. No I/O and no clock."""
