"""Real Apache Kafka and Milvus on this machine, from the package registries alone."""
