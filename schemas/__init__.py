"""The contract: records on the wire, the manifest, the table of topics, the settings and the Kafka clients' configuration."""
