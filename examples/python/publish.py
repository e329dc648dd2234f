"""Publish a profile event: python publish.py 127.0.0.1:9092 '{"user_id": 42, "age": 27, "recent": [1, 2]}'"""

import json
import sys

from confluent_kafka import Producer

servers, event = sys.argv[1], json.loads(sys.argv[2])
# Idempotence: a retry of the client must not make a second event. The partitioner is Java's, so that all producers agree.
producer = Producer(
    {"bootstrap.servers": servers, "enable.idempotence": True, "partitioner": "murmur2_random"}
)
key = str(event["user_id"]) if "user_id" in event else None
failed = []
producer.produce(
    "marquee.profiles",
    key=key,
    value=json.dumps(event),
    on_delivery=lambda error, _: failed.append(error) if error else None,
)
if producer.flush(30) or failed:
    sys.exit(f"not published: {failed or 'no broker answered within 30 s'}")
