"""Back-tests: what the daemon would have done on a recorded history."""
