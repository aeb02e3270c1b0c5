"""Builds everything that `killswitch run` needs from its settings, and runs it."""
