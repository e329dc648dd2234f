"""Keep each user's last list in Redis: python redis_sink.py 127.0.0.1:9092 redis://127.0.0.1:6379

Reading is at least once: offsets are committed after the write, so a restart reads some results again. The script below
ignores a result that is not newer than the stored one, so a repeated result changes nothing. Events of a user have one key,
hence one partition, and their offsets grow; a user's events in another partition (after `profiles` has grown) are newer.
"""

import json
import sys

import redis
from confluent_kafka import Consumer, Message

STORE = """
local at = redis.call('HMGET', KEYS[1], 'partition', 'offset')
if at[1] == ARGV[1] and tonumber(at[2]) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'partition', ARGV[1], 'offset', ARGV[2], 'movies', ARGV[3], 'release', ARGV[4])
return 1
"""


def main(servers: str, url: str) -> None:
    store = redis.Redis.from_url(url).register_script(STORE)
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "marquee.reader.redis",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe(["marquee.recommendations"])
    try:
        while True:
            messages = consumer.consume(500, timeout=0.5)
            for message in messages:
                keep(message, store)
            if messages:
                consumer.commit(asynchronous=False)
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


def keep(message: Message, store: redis.commands.core.Script) -> None:
    if message.error():
        sys.exit(f"cannot read: {message.error()}")
    result = json.loads(message.value())
    if result.get("user_id") is None:
        return
    source = result["source"]
    store(
        keys=[f"recommendations:{result['user_id']}"],
        args=[source["partition"], source["offset"], json.dumps(result["movies"]), result["release"]],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
