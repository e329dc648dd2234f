"""A release without Kafka, through the worker's own recommender: compare, explain, replay, verify, extend."""
