"""A release without Kafka, through the worker's recommender: compare, explain, replay, verify, extend. Import from the modules."""
