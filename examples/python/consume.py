"""Print recommendations as they come: python consume.py 127.0.0.1:9092"""

import json
import sys

from confluent_kafka import Consumer

consumer = Consumer(
    {
        "bootstrap.servers": sys.argv[1],
        "group.id": "marquee.reader.example",
        "auto.offset.reset": "earliest",
        # Without it a reader also sees the records of aborted transactions.
        "isolation.level": "read_committed",
    }
)
consumer.subscribe(["marquee.recommendations"])
try:
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            sys.exit(f"cannot read: {message.error()}")
        result = json.loads(message.value())
        titles = ", ".join(movie["title"] for movie in result["movies"])
        print(f"{result.get('user_id')}: {titles}", flush=True)
except KeyboardInterrupt:
    pass
finally:
    consumer.close()
