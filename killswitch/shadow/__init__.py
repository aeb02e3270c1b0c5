"""Shadow mode, away from the service: raw pairs -> features and differences -> statistics -> report and GO or NO_GO."""
