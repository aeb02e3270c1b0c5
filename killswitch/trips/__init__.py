"""Taking traffic away: commit a trip, retry it, record it, and watch it spread."""
