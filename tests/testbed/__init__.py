"""Real servers, processes under test and readers of topics, for tests, `make bench` and `make faults`."""
