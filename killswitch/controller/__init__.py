"""One cycle of the controller: read, judge, act, report."""
