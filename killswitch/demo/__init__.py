"""A world to try the kill switch in: a simulated service, its past, and the story of one bad canary."""
