"""Keep each user's last list in Postgres: python postgres_sink.py 127.0.0.1:9092 postgresql://localhost/shop

Lists and the reader's position go into one database transaction, and a start seeks to the stored position: each result is written
exactly once, whatever Kafka's group offsets are. Run one process for the topic; to share it, give each process partitions of its own. Restart it after the topic has grown.
"""

import json
import sys

import psycopg
from confluent_kafka import Consumer, Message, TopicPartition

TOPIC = "marquee.recommendations"
TABLES = """
CREATE TABLE IF NOT EXISTS recommendations (user_id bigint PRIMARY KEY, movies jsonb NOT NULL, release text NOT NULL);
CREATE TABLE IF NOT EXISTS positions (part int PRIMARY KEY, next_offset bigint NOT NULL);
"""
LIST = """
INSERT INTO recommendations VALUES (%s, %s, %s)
ON CONFLICT (user_id) DO UPDATE SET movies = excluded.movies, release = excluded.release
"""
POSITION = "INSERT INTO positions VALUES (%s, %s) ON CONFLICT (part) DO UPDATE SET next_offset = excluded.next_offset"


def main(servers: str, database: str) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "marquee.reader.postgres",
            "isolation.level": "read_committed",
            # Retention may have removed the stored position; the client's default would then skip to the end.
            "auto.offset.reset": "earliest",
        }
    )
    # autocommit: only the blocks below are transactions; without it the first SELECT would open one that never commits.
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(TABLES)
        stored = dict(connection.execute("SELECT part, next_offset FROM positions").fetchall())
        partitions = consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        consumer.assign([TopicPartition(TOPIC, part, stored.get(part, 0)) for part in partitions])
        try:
            while True:
                write(consumer.consume(500, timeout=0.5), connection)
        except KeyboardInterrupt:
            pass
        finally:
            consumer.close()


def write(messages: list[Message], connection: psycopg.Connection) -> None:
    """Write lists and positions in one transaction."""
    with connection.transaction(), connection.cursor() as cursor:
        for message in messages:
            if message.error():
                sys.exit(f"cannot read: {message.error()}")
            result = json.loads(message.value())
            if result.get("user_id") is not None:
                cursor.execute(LIST, (result["user_id"], json.dumps(result["movies"]), result["release"]))
            cursor.execute(POSITION, (message.partition(), message.offset() + 1))


if __name__ == "__main__":
    main(*sys.argv[1:])
