"""Rehearsing a trip in production: the whole chain, timed, without a user who gets another answer."""
