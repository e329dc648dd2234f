"""Apache Kafka and Milvus on this machine, installed from package registries alone."""
