"""The `marquee` command and all behind it: deployment, traffic, offline work, training, a local Kafka and Milvus."""
