"""Answer HTTP requests through Kafka: KAFKA=127.0.0.1:9092 uvicorn app:app

Each request becomes a profile event, and the request waits for the result with its event_id. Every process of the application reads
all partitions of the results from their end, outside of any group, because any of them may contain the result that it waits for.
"""

import asyncio
import json
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from fastapi import FastAPI, HTTPException

SERVERS = os.environ["KAFKA"]
TIMEOUT_S = 5.0
waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
# linger.ms 0: one request must not wait for others.
producer = Producer(
    {
        "bootstrap.servers": SERVERS,
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": 0,
    }
)


def read_results(loop: asyncio.AbstractEventLoop, stop: threading.Event, ready: threading.Event) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": SERVERS,
            "group.id": f"marquee.reader.{uuid.uuid4()}",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 10,
        }
    )
    topic = "marquee.recommendations"
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, part), timeout=10)[1] for part in partitions]
    consumer.assign([TopicPartition(topic, part, end) for part, end in zip(partitions, ends, strict=True)])
    ready.set()
    while not stop.is_set():
        for message in consumer.consume(100, timeout=0.05):
            if message.error() is None:
                result = json.loads(message.value())
                loop.call_soon_threadsafe(answer, result)
        producer.poll(0)
    consumer.close()


def answer(result: dict[str, Any]) -> None:
    future = waiting.pop(result["event_id"], None)
    if future is not None and not future.done():
        future.set_result(result)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=read_results, args=(asyncio.get_running_loop(), stop, ready))
    thread.start()
    await asyncio.to_thread(ready.wait, 30)
    yield
    stop.set()
    await asyncio.to_thread(thread.join)


app = FastAPI(lifespan=lifespan)


@app.post("/recommendations")
async def recommend(profile: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    event = {**profile, "event_id": str(uuid.uuid4())}
    future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    waiting[event["event_id"]] = future
    key = str(event["user_id"]) if "user_id" in event else event["event_id"]
    producer.produce("marquee.profiles", key=key, value=json.dumps(event))
    producer.poll(0)
    try:
        result = await asyncio.wait_for(future, TIMEOUT_S)
    except TimeoutError as error:
        # An invalid event becomes a dead letter: validate input before you send it, or read dead letters, too.
        raise HTTPException(504, f"no recommendation within {TIMEOUT_S:.0f} s") from error
    finally:
        waiting.pop(event["event_id"], None)
    return {"movies": result["movies"], "milliseconds": round((time.perf_counter() - began) * 1000, 1)}
