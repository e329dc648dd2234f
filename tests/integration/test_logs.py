"""What a worker says while it works: each line a record, each event a place, no event's content."""

import json
import re
from pathlib import Path

from confluent_kafka import Producer

from schemas import kafka
from schemas.settings import Settings
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, wait_for

# What people send. Each is found again in a line that quotes it, whatever is around it.
SECRETS = ("secret-event", "8675309042", "secretgender", "secret-nonsense", "secret-header", "4815162342")


def test_a_worker_names_places_and_quotes_nobody(
    lite_settings: Settings, fusion_store: str, tmp_path: Path
) -> None:
    # Given events that are answered, and events that are not
    settings = lite_settings.model_copy(update={"store": fusion_store})
    activate(settings)
    events: list[bytes | None] = [
        b'{"event_id": "secret-event", "user_id": 8675309042, "recent": [4815162342]}',
        b'{"event_id": "secret-event", "gender": "secretgender"}',
        b'{"user_id": "8675309042", "recent": [4815162342, "secret-nonsense"]}',
        b'{"secret-nonsense',
        b'["secret-nonsense"]',
        None,
    ]
    producer = Producer(kafka.producer(settings.kafka))
    for value in events:
        producer.produce(
            settings.names.profiles, value, b"secret-event", headers=[("trace", b"secret-header")]
        )
    assert producer.flush(60) == 0

    # When
    with Process("worker", settings, tmp_path, MARQUEE_LOG__FORMAT="json") as worker:
        dead = 'marquee_events_total{outcome="dead_letter"}'
        wait_for("the dead letters", lambda: worker.metric(dead) == len(events) - 1, 120)
        wait_for("the answer", lambda: worker.metric('marquee_events_total{outcome="recommendation"}') == 1)
        assert worker.stop() == 0

    # Then
    lines = [json.loads(line) for line in worker.output.splitlines()]
    messages = [line["message"] for line in lines]
    assert [secret for secret in SECRETS if secret in worker.output] == []
    letters = [line for line in lines if line["logger"] == "worker.events.dead_letters"]
    assert sum(int(line["message"].split()[0]) for line in letters) == len(events) - 1
    assert all(line["topic"] == settings.names.profiles for line in letters)
    assert all({"partition", "offset", "release"} <= set(line) for line in letters)
    for event in ("worker .*, its page", "release .* loaded", "serving release", "assigned", "stopped"):
        assert sum(bool(re.match(event, message)) for message in messages) == 1, event
