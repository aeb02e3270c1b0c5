"""What a page says, the outbox it waits in, and its delivery."""
