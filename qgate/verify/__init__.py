"""One target: acquire, inspect, measure, judge."""
