"""What a flag and an incident are, and what a flag may become. Pure, and light: the router SDK loads it."""
