"""What a large catalogue takes: `python -m ops.large_catalogue` has one indexed and served, and tells peak memory.

A release with random weights and so many generated movies goes through real Kafka, Milvus, indexer and worker.
"""

import json
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

_SECONDS = 3_600.0
_GENRES_AT_MOST = 3
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


def write_store(folder: Path, movies: int, dimension: int) -> str:
    """A store with one release: an untrained sequence model over `movies` generated movies."""
    from ops.data.titles import ADJECTIVES, GENRE_WORDS, GENRES
    from ops.training.export import write_release
    from ops.training.sequence import SequenceModel
    from schemas.manifest import Data
    from worker.release.catalogue import Catalogue
    from worker.release.features import Vocabularies
    from worker.release.store import ReleaseStore

    rng = np.random.default_rng(0)
    nouns = [noun for words in GENRE_WORDS.values() for noun in words]
    chosen = rng.integers((len(ADJECTIVES), len(nouns), 1920), (0x7FFFFFFF, 0x7FFFFFFF, 2026), (movies, 3))
    titles = [
        f"{ADJECTIVES[first % len(ADJECTIVES)]} {nouns[second % len(nouns)]} ({year})"
        for first, second, year in chosen.tolist()
    ]
    counts = rng.integers(1, _GENRES_AT_MOST + 1, movies).tolist()
    starts = rng.integers(0, len(GENRES) - _GENRES_AT_MOST, movies).tolist()
    genres = [list(GENRES[start : start + count]) for start, count in zip(starts, counts, strict=True)]
    catalogue = Catalogue(
        np.arange(1, movies + 1, dtype=np.int64), titles, genres, chosen[:, 2].astype(np.int32)
    )
    vocabularies = Vocabularies.of([], catalogue)
    sizes = {"later": dimension // 4, "liked": dimension // 8, "kin": dimension // 8}
    sizes |= {"dimension": dimension - sum(sizes.values()), "heads": 2, "blocks": 1}
    network = SequenceModel(vocabularies, **sizes)
    data = Data(fingerprint="0" * 64, split="all", users=0, movies=movies, ratings=0)
    store = ReleaseStore(str(folder))
    store.create()
    write_release(store, "sequence", network, vocabularies, catalogue, data, sizes)
    return str(folder)


def measure(
    folder: Path, movies: int, dimension: int, milvus_kind: Literal["lite", "standalone"]
) -> dict[str, object]:
    """Index and serve the catalogue; peak resident memory in MB, and what the check found."""
    from ops.indexing import index, newest
    from ops.local.kafka import LocalKafka
    from ops.local.milvus import LocalMilvus, MilvusLite, MilvusStandalone
    from ops.local.process import ChildProcess
    from schemas.settings import load_settings
    from worker.kafka.records import read_releases
    from worker.kafka.topics import ensure_topics

    server = MilvusLite if milvus_kind == "lite" else MilvusStandalone
    milvus: LocalMilvus = server(folder / "milvus")
    with LocalKafka(folder / "kafka") as kafka, milvus:
        settings = load_settings(
            store=str(folder / "store"),
            kafka={"bootstrap_servers": kafka.bootstrap_servers},
            milvus={"uri": milvus.uri, "timeout_s": 60},
        )
        ensure_topics(settings, 60)
        variables = {
            "MARQUEE_STORE": settings.store,
            "MARQUEE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
            "MARQUEE_MILVUS__URI": settings.milvus.uri,
            "MARQUEE_MILVUS__TIMEOUT_S": "60",
            "MARQUEE_HTTP__PORT": "0",
        }
        roles = {
            role: ChildProcess(
                role,
                [sys.executable, "-m", "ops", role],
                log=folder / f"{role}.log",
                environment=variables,
            )
            for role in ("indexer", "worker")
        }
        for child in roles.values():
            child.start()
        try:
            began = time.monotonic()
            release = newest(settings)
            index(settings, release, timeout_s=_SECONDS)
            seconds = time.monotonic() - began
            record = read_releases(settings, 60).releases[release]
            peaks = {f"{role}_peak_mb": _peak_mb(child.pid or 0) for role, child in roles.items()}
        finally:
            for child in roles.values():
                child.stop(20)
    return {
        "movies": movies,
        "dimension": dimension,
        "index": record.index,
        "recall_at_5": record.recall_at_5,
        "ef": record.ef,
        "seconds_until_served": round(seconds),
        **peaks,
    }


def _peak_mb(pid: int) -> int:
    """The most resident memory that a process has had, in MB of 10^6 bytes."""
    found = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1_024 // 1_000_000


def main(
    movies: Annotated[int, typer.Option(min=1)] = 1_000_000,
    dimension: Annotated[int, typer.Option(min=2)] = 64,
    milvus: Annotated[Literal["lite", "standalone"], typer.Option()] = "standalone",
) -> None:
    """Index a generated catalogue, and print peak resident memory, the index and its recall@5 as JSON (Linux)."""
    with tempfile.TemporaryDirectory(prefix="marquee-large-") as folder:
        write_store(Path(folder) / "store", movies, dimension)
        made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024 // 1_000_000
        print(f"wrote the release with {made} MB", file=sys.stderr)  # noqa: T201
        print(json.dumps(measure(Path(folder), movies, dimension, milvus), indent=2))  # noqa: T201


if __name__ == "__main__":
    typer.run(main)
