"""What is said on the wire and in a release's manifest, the settings, and the Kafka clients made from them."""
