"""What the indexer measures, by Prometheus' conventions; docs/metrics.md is made from it."""

from collections.abc import Iterable
from typing import get_args

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from schemas.release import Action, CommandOutcome, ReleaseRecord, ReleaseState
from worker.monitoring.threads import ThreadMetrics

_SECONDS = (1, 2, 5, 10, 20, 60, 120, 300, 600, 1_800, 3_600)


class IndexerMetrics:
    """The indexer's metrics; made once a process. What it tells is what it publishes in `releases`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.threads = ThreadMetrics(registry, "http")
        self._has_commands = Gauge(
            "marquee_indexer_has_commands",
            "1 where this indexer takes the commands, 0 where it stands by.",
            registry=registry,
        )
        self._busy = Gauge(
            "marquee_indexer_busy", "1 while a command is carried out, else 0.", registry=registry
        )
        self._step_at = Gauge(
            "marquee_indexer_last_step_timestamp_seconds",
            "When the command under way, or the last one, last came on; 0 before the first.",
            registry=registry,
        )
        self._progress = Gauge(
            "marquee_indexing_progress_ratio",
            "Share of the catalogue that is in the collection, while a release is indexed.",
            ["release"],
            registry=registry,
        )
        self._seconds = Histogram(
            "marquee_indexing_seconds",
            "From the beginning of a release's indexing to its checked collection.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._commands = Counter(
            "marquee_release_commands",
            "Release commands carried out, by what was asked for and what became of it.",
            ["action", "outcome"],
            registry=registry,
        )
        self._unreadable = Counter(
            "marquee_unreadable_release_commands",
            "Records of release-commands that were skipped: no command, or one of a newer version.",
            registry=registry,
        )
        self._indexing: set[str] = set()
        for action in get_args(Action):
            for outcome in get_args(CommandOutcome.model_fields["outcome"].annotation):
                self._commands.labels(action, outcome)

    def has_commands(self, has_them: bool) -> None:
        """Whether the commands are this indexer's."""
        self._has_commands.set(has_them)

    def begun(self) -> None:
        """A command is under way."""
        self._busy.set(1)
        self._step_at.set_to_current_time()

    def unreadable(self) -> None:
        """A record was skipped, because it is no command that this version understands."""
        self._unreadable.inc()

    def published(self, releases: Iterable[ReleaseRecord]) -> None:
        """Records were committed: a step of the command under way."""
        self._step_at.set_to_current_time()
        for record in releases:
            if record.state == ReleaseState.INDEXING:
                self._indexing.add(record.release)
                self._progress.labels(record.release).set(record.progress)
            elif record.state == ReleaseState.READY and record.release in self._indexing:
                if record.indexing_at and record.ready_at:
                    self._seconds.observe((record.ready_at - record.indexing_at).total_seconds())
                self._stop_indexing()

    def carried_out(self, command_id: str, releases: Iterable[ReleaseRecord]) -> None:
        """The records that a command ended with were committed; one of them says what became of it."""
        for record in releases:
            for done in record.commands:
                if done.command_id == command_id:
                    self._commands.labels(done.action, done.outcome).inc()

    def ended(self) -> None:
        """No command is under way any more."""
        self._busy.set(0)
        self._stop_indexing()

    def _stop_indexing(self) -> None:
        self._indexing.clear()
        self._progress.clear()
