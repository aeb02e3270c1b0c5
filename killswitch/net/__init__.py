"""How we speak to the outside: bounded HTTP, name look-ups that end, secrets and TLS. The router SDK loads it."""
