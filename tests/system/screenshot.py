"""The picture in the README: `python -m tests.system.screenshot docs/page.png`, three minutes of generated people, and a swap."""

import itertools
import math
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from confluent_kafka import Producer

from ops.data.generate import Sizes, generate
from ops.data.movielens import load
from ops.local.kafka import LocalKafka
from ops.local.milvus import MilvusLite
from ops.traffic.sources import profile_events
from producer.profiles import encode
from schemas import kafka as clients
from schemas.settings import Settings, load_settings
from tests.system.browser import Browser
from tests.testbed.processes import Process
from tests.testbed.releases import train_release

SECONDS = 180.0
WIDTH, HEIGHT = 1160, 1180


def main(picture: Path) -> None:
    """Take the picture, light, of the upper part of the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder / "data", seed=0, sizes=Sizes(users=1_000, movies=800, ratings=60_000))
        with LocalKafka(folder / "kafka") as broker, MilvusLite(folder / "milvus") as milvus:
            settings = load_settings(
                store=str(folder / "store"),
                kafka={"bootstrap_servers": broker.bootstrap_servers},
                milvus={"uri": milvus.uri},
            )
            picture.write_bytes(_picture(settings, folder))


def _picture(settings: Settings, folder: Path) -> bytes:
    releases = [train_release(folder / "data", settings.store, seed=seed) for seed in (1, 2)]
    with (
        Process("indexer", settings, folder) as indexer,
        Process("worker", settings, folder, MARQUEE_WORKER__ID="worker-0") as worker,
    ):
        indexer.wait_ready(120)
        _reindex(settings, folder, releases[0])
        worker.wait_ready(120)
        enough = threading.Event()
        people = threading.Thread(target=_publish, args=(settings, folder / "data", enough))
        people.start()
        try:
            time.sleep(0.6 * SECONDS)
            _reindex(settings, folder, releases[1])
            time.sleep(0.4 * SECONDS)
            return _seen(f"http://127.0.0.1:{worker.port}/", folder)
        finally:
            enough.set()
            people.join()


def _seen(address: str, folder: Path) -> bytes:
    with Browser(folder / "profile", width=WIDTH, height=HEIGHT) as browser:
        browser.open(address)
        browser.wait_for("document.querySelectorAll('#recommendations tr').length >= 8")
        browser.wait_for("document.querySelector('#chart-rate path') !== null")
        assert browser.complaints == []
        return browser.screenshot()


def _reindex(settings: Settings, folder: Path, release: str) -> None:
    with Process("reindex", settings, folder, release, "--wait") as reindex:
        code = reindex.child.wait(300)
        if code != 0:
            raise subprocess.CalledProcessError(code, "marquee reindex", reindex.output)


def _publish(settings: Settings, data: Path, enough: threading.Event) -> None:
    """A stream that swells and ebbs, some of it unreadable."""
    producer = Producer(clients.producer(settings.kafka))
    people = itertools.cycle(profile_events(load(data), 20_000, 0))
    began = time.monotonic()
    for number in itertools.count():
        if enough.is_set():
            break
        elapsed = time.monotonic() - began
        for each in range(int(20 + 12 * math.sin(elapsed / 14))):
            key, value = encode(next(people))
            bad = number % 40 == 0 and each == 0
            producer.produce(settings.names.profiles, b'{"age": 300}' if bad else value, key)
        producer.poll(0)
        time.sleep(0.1)
    producer.flush(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
