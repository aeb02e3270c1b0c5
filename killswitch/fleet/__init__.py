"""What the replicas of the daemon know of each other: heartbeats, sessions, outages."""
