"""Traffic that is split elsewhere: a flag mirrored into the weights of a Gateway API route."""
