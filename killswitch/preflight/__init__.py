"""What a person runs before users meet a canary: doctor, rule tests, power, back-test."""
