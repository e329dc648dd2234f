"""What an operator runs: the marquee command, data, training, local Kafka and Milvus, containers."""
