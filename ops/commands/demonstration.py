"""The demo: data, training, a deployment on this machine, two profiles of the bootcamp, and a stream of events."""

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from ops.commands.printing import duration, movie_table
from ops.data.generate import Sizes, generate
from ops.data.movielens import MovieLens, load
from ops.data.seed_codes import AGE_NAMES, GENDER_NAMES, SEED_GENDERS, age_in_years
from ops.deployment.indexing import index
from ops.deployment.overview import cause_of_silence
from ops.evaluation.holdout import Source
from ops.local.process import ChildProcess
from ops.local.up import UP_FILE
from ops.traffic.ask import ask
from ops.traffic.sources import animation_watcher, profile_events
from ops.traffic.stream import UNDER_WAY, Ledger, stream
from ops.training.devices import use_threads
from ops.training.hyperparameters import expected_seconds, hyperparameters_for
from ops.training.loop import Progress as Step
from ops.training.train import train_sequence
from schemas.errors import MarqueeError
from schemas.profile import OCCUPATIONS, ProfileEvent
from schemas.settings import Settings, load_settings
from worker.release.store import ReleaseStore

# `-a 0 -g 1 -j 10` and `-a 6 -g 0 -j 16`, as in the README of the Milvus bootcamp's recommender.
BOOTCAMP_PROFILES = ((0, 1, 10), (6, 0, 16))
UP_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0  # `marquee up` stops its children one after the other
ANSWER_TIMEOUT_S = 60.0
# Fewer than the default of `marquee train` for ml-1m: nearly the same model, in minutes.
EPOCHS = 4
SHOWN_METRICS = (
    "marquee_events_total",
    "marquee_batches_total",
    "marquee_transactions_total",
    "marquee_event_latency_seconds_count",
    "marquee_active_epoch",
)


@dataclass(frozen=True)
class Demo:
    """The demo in a folder, with results on `console` and progress on `progress_console`."""

    folder: Path
    data: Path | None
    events: int
    seed: int
    console: Console
    progress_console: Console

    def run(self) -> None:
        """Run every step. `marquee up` and its children have ended when this returns or raises.

        Raises:
            MarqueeError: a step failed.
        """
        began = time.monotonic()
        data = self._data()
        release = self._train(data)
        with self._up() as settings:
            self._index(settings, release)
            for codes in BOOTCAMP_PROFILES:
                self._recommend(settings, *codes)
            self._recommend_after(settings, data, animation_watcher(data))
            self._stream(settings, data)
            self._metrics()
        self._print(f"All of it took {time.monotonic() - began:.0f} s. Every process has ended.")

    @property
    def _store(self) -> Path:
        return self.folder / "store"

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False)

    def _data(self) -> MovieLens:
        folder = self.data or self.folder / "data"
        if self.data is None:
            generate(folder, self.seed, Sizes())
        data = load(folder)
        made = "given" if self.data else f"generated, seed {self.seed}"
        self._print(
            f"Data ({made}): {len(data.users):,} users, {len(data.movies):,} movies, {len(data.ratings):,} ratings."
        )
        return data

    def _train(self, data: MovieLens) -> str:
        hyper = hyperparameters_for(len(data.ratings), seed=self.seed, epochs=EPOCHS)
        seconds = expected_seconds(len(data.ratings), hyper)
        self._print(f"Training the sequence model takes about {duration(seconds)} on a free core.")
        use_threads(1)
        with self._progress("{task.description}") as progress:
            task = progress.add_task("training", total=1.0)

            def report(step: Step) -> None:
                text = f"training, epoch {step.epoch}, loss {step.loss:.3f}"
                progress.update(task, completed=step.share, description=text)

            source = Source(data, self.data or self.folder / "data")
            trained = train_sequence(source, ReleaseStore(str(self._store)), hyper, report=report)
        beside = trained.baselines
        self._print(
            f"Release {trained.manifest.release}, trained in {trained.seconds:.0f} s: NDCG@10 {trained.figure:.3f} for the "
            f"next movie of held-out users (popularity {beside['popularity']:.3f}, within gender and age "
            f"{beside['popularity, gender x age']:.3f})."
        )
        return trained.manifest.release

    @contextmanager
    def _up(self) -> Iterator[Settings]:
        """Run a deployment on this machine, and yield the settings that reach it."""
        written = self.folder / UP_FILE
        written.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", "ops", "up"),
            *("--dir", str(self.folder), "--store", str(self._store)),
        ]
        up = ChildProcess("marquee up", command, log=self.folder / "up.log")
        try:
            with self.progress_console.status("starting Kafka, Milvus, indexer and worker"):
                up.start()
                up.wait_until(written.is_file, UP_TIMEOUT_S)
            state = json.loads(written.read_text())
            self._print(f"Kafka at {state['bootstrap_servers']}, Milvus at {state['milvus_uri']}.")
            yield load_settings(
                kafka={"bootstrap_servers": state["bootstrap_servers"]},
                milvus={"uri": state["milvus_uri"]},
                store=state["store"],
            )
        finally:
            up.stop(STOP_TIMEOUT_S)

    def _index(self, settings: Settings, release: str) -> None:
        began = time.monotonic()
        with self._progress("{task.description}") as progress:
            task = progress.add_task("indexing", total=1.0)
            index(settings, release, report=lambda share: progress.update(task, completed=share))
        self._print(f"Indexed, checked and active after {time.monotonic() - began:.1f} s.\n")

    def _recommend(self, settings: Settings, age: int, gender: int, job: int) -> None:
        profile = ProfileEvent(age=age_in_years(age), gender=SEED_GENDERS[gender], occupation=job)
        result, latency_ms = ask(settings, profile, ANSWER_TIMEOUT_S, cause_of_silence)
        self._print(f"marquee recommend -a {age} -g {gender} -j {job}")
        self._print(f"  ({AGE_NAMES[age]}, {GENDER_NAMES[gender]}, {OCCUPATIONS[job]}; {latency_ms} ms)")
        # Written to the file, because the console expands tabs.
        self.console.file.write(f"{movie_table(result.recommendation.movies)}\n\n")

    def _recommend_after(self, settings: Settings, data: MovieLens, watched: list[int]) -> None:
        """Recommend to a user of whom only the history is known."""
        result, latency_ms = ask(settings, ProfileEvent(recent=watched), ANSWER_TIMEOUT_S, cause_of_silence)
        self._print(f"marquee recommend --recent {','.join(map(str, watched))}")
        rows = [data.movies.position(movie) for movie in watched]
        titles = ", ".join(data.movies.titles[row] for row in rows if row is not None)
        self._print(f"  (after {titles}; {latency_ms} ms)")
        genres = [", ".join(movie.genres) for movie in result.recommendation.movies]
        self.console.file.write(f"{movie_table(result.recommendation.movies)}\n")
        self._print(f"  (their genres: {'; '.join(genres)})\n")

    def _stream(self, settings: Settings, data: MovieLens) -> None:
        columns = (MofNCompleteColumn(), TimeRemainingColumn())
        with self._progress("events answered", *columns) as progress:
            task: TaskID = progress.add_task("", total=self.events)
            began = time.monotonic()
            ledger = stream(
                settings,
                profile_events(data, self.events, self.seed),
                timeout_s=ANSWER_TIMEOUT_S,
                report=lambda answered: progress.update(task, completed=answered),
            )
            seconds = time.monotonic() - began
        self.console.print(_summary(ledger, seconds))
        self._print(
            f"Latency is from an event's timestamp to the broker's timestamp of its result, with up to {UNDER_WAY:,} "
            "events in flight, so most of it is waiting.\n"
        )
        if ledger.twice or ledger.answered != self.events:
            raise MarqueeError(
                "an event has no result, or more than one; see the table above and the workers' logs"
            )

    def _metrics(self) -> None:
        state = json.loads((self.folder / UP_FILE).read_text())
        address = _metrics_address(state["processes"])
        with urllib.request.urlopen(address, timeout=10) as response:
            lines = response.read().decode().splitlines()
        self._print(f"Some of {address}:")
        for line in lines:
            if line.startswith(SHOWN_METRICS):
                self._print(f"  {line}")

    def _progress(self, text: str, *more: Any) -> Progress:
        console = self.progress_console
        return Progress(
            TextColumn(text),
            BarColumn(),
            *more,
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )


def _summary(ledger: Ledger, seconds: float) -> Table:
    events = len(ledger.sent_at)
    results = len(ledger.results)
    table = Table(show_header=False, box=None)
    table.add_row("events", f"{events:,} in {seconds:.1f} s, {events / seconds:,.0f} a second")
    table.add_row("latency", f"p50 {ledger.latency_ms(0.5):,} ms, p99 {ledger.latency_ms(0.99):,} ms")
    table.add_row("results", f"{results:,}")
    table.add_row("dead letters", f"{ledger.answered - results:,}")
    table.add_row("answered twice", f"{len(ledger.twice):,}")
    table.add_row("release", ", ".join(sorted(ledger.releases)))
    return table


def _metrics_address(processes: list[dict[str, Any]]) -> str:
    port = next(each["http_port"] for each in processes if each["name"].startswith("worker"))
    return f"http://127.0.0.1:{port}/metrics"
