"""The indexer's metrics, by Prometheus' conventions."""

from collections.abc import Iterable
from typing import get_args

from prometheus_client import REGISTRY, CollectorRegistry

from schemas.release import Action, CommandOutcome, ReleaseRecord, ReleaseState
from worker.monitoring.declarations import Declared, counter, gauge, histogram, thread_restarts

_INDEXING = (1, 2, 5, 10, 20, 60, 120, 300, 600, 1_800, 3_600)


class IndexerMetrics(Declared):
    """The indexer's metrics, made from the records that it publishes in `releases`."""

    leads = gauge("marquee_indexer_has_commands", "1 while this indexer is the leader, 0 while it stands by.")
    _busy = gauge("marquee_indexer_busy", "1 while a command is carried out, else 0.")
    _step_at = gauge(
        "marquee_indexer_last_step_timestamp_seconds",
        "Time of the last step of the current or last command; 0 before the first.",
    )
    _progress = gauge(
        "marquee_indexing_progress_ratio",
        "Share of the catalogue that is in the collection, while a release is indexed.",
        release=(),
    )
    _seconds = histogram(
        "marquee_indexing_seconds",
        "From the start of a release's indexing to its checked collection.",
        _INDEXING,
    )
    _commands = counter(
        "marquee_release_commands",
        "Release commands carried out, by action and outcome.",
        action=get_args(Action),
        outcome=get_args(CommandOutcome.model_fields["outcome"].annotation),
    )
    unreadable = counter(
        "marquee_unreadable_release_commands",
        "Records of release-commands that were skipped: no command, or a command of a newer version.",
    )
    restarts = thread_restarts("http")

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        super().__init__(registry)
        self._indexing: set[str] = set()

    def begun(self) -> None:
        """A command is in progress."""
        self._busy.set(1)
        self._step_at.set_to_current_time()

    def published(self, releases: Iterable[ReleaseRecord]) -> None:
        """Records were committed: a step of the current command."""
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
        """The records that a command ended with were committed; one of them contains its outcome."""
        for record in releases:
            for done in record.commands:
                if done.command_id == command_id:
                    self._commands.labels(done.action, done.outcome).inc()

    def ended(self) -> None:
        """No command is in progress any more."""
        self._busy.set(0)
        self._stop_indexing()

    def _stop_indexing(self) -> None:
        self._indexing.clear()
        self._progress.clear()
