"""A service's own metrics page, scraped by the daemon itself."""
