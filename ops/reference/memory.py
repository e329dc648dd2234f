"""An upper bound of a worker's memory for events, by the settings: for docs/settings.md, and for tests/integration/test_memory.py,
which measures it."""

from schemas import kafka
from schemas.profile import MAX_EXCLUDE, MAX_K, MAX_RECENT
from schemas.settings import Settings
from worker.events import MAX_EVENT_BYTES
from worker.serving.cache import ENTRY_BYTES
from worker.serving.candidate import HELD
from worker.stream.pipeline import ANSWERERS, DEPTH

# Largest compression ratio of records in a fetch.
COMPRESSION = 20
# Consumers besides the worker's own: of releases, of withdrawals, and of the ends of the output topics.
READERS = 3
# Bytes for each byte of an event while it is decoded, one event at a time: nested arrays need the most, 80 measured.
DECODING = 80
# Bytes of a 64-bit id in a list, and of a movie in a result (title, genres, numbers).
_ID_BYTES = 44
_MOVIE_BYTES = 200


def bound(settings: Settings, brokers: int = 1) -> dict[str, int]:
    """Bound the bytes for events, besides those of an idle worker, by their place."""
    worker = settings.worker
    consumer = kafka.worker_consumer(settings)
    queue = int(consumer["queued.max.messages.kbytes"]) * 1_024
    fetched = queue + int(consumer["fetch.max.bytes"]) * COMPRESSION * brokers
    batch = max(worker.batch_max_mb * 2**20, MAX_EVENT_BYTES)
    caches = 2 if worker.cached_lists else 0
    within_contract = (MAX_RECENT + MAX_EXCLUDE) * _ID_BYTES, MAX_K * _MOVIE_BYTES
    return {
        "queue and a fetch of the worker's consumer, and as much again that was polled": 2 * fetched,
        f"queue and a fetch of each of the {READERS} readers beside it": READERS * fetched,
        f"the events of {DEPTH} batches in flight, and of {HELD} that a shadow holds": (DEPTH + HELD) * batch,
        "the events of one transaction once more, and compressed": 2 * batch,
        f"one event while it is read, {DECODING} times its size": DECODING * MAX_EVENT_BYTES,
        "lists of ids and results within the contract, of these batches": worker.batch_events
        * ((ANSWERERS + HELD) * within_contract[0] + (2 * DEPTH + HELD) * within_contract[1]),
        "cached lists, of the active release and of a candidate": caches
        * min(worker.cache_max_mb * 2**20, worker.cached_lists * (ENTRY_BYTES + MAX_K * _MOVIE_BYTES)),
    }


def bound_table(settings: Settings) -> list[str]:
    """Format the bound by its parts, in MiB, as lines of Markdown."""
    parts = bound(settings)
    rows = [f"| {what} | {-(-size // 2**20)} |" for what, size in parts.items()]
    return [
        "| what holds them | MiB |",
        "|---|---|",
        *rows,
        f"| **together** | **{-(-sum(parts.values()) // 2**20)}** |",
    ]
