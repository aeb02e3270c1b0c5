"""What is remembered of each rule over time, so that people see both cohorts' course and not only the newest value."""
