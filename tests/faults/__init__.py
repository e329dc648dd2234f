"""Faults that try to break the promise, and the checker that says whether they did."""
