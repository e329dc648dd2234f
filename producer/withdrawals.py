"""Withdrawals: writes them, reads them, and waits until every live worker leaves the movies out."""

import time
from collections.abc import Mapping

from confluent_kafka import TopicPartition

from producer.cluster import Refusal, deliver, ends
from producer.reader import read_to_end
from schemas.errors import MarqueeError
from schemas.releases import ReleasesView
from schemas.settings import Settings
from schemas.withdrawal import Withdrawal, WithdrawalsView, withdrawal_key

_LOOK_SECONDS = 0.3


class NotEverywhereError(MarqueeError):
    """Some live workers have not read a withdrawal within the time given."""


def read_withdrawals(settings: Settings, timeout_s: float) -> Mapping[int, Withdrawal | None]:
    """The movies that are withdrawn now. Raises as `read_to_end`."""
    view = WithdrawalsView()
    for message in read_to_end(settings, settings.names.withdrawals, timeout_s=timeout_s):
        view.apply(message.key(), message.value())
    return view.movies


def write_withdrawals(
    settings: Settings, movies: Mapping[int, Withdrawal | None], timeout_s: float = 10.0
) -> int:
    """Withdraw movies, or restore those with None; returns the offset after the last, which workers report.

    Raises as `deliver`.
    """
    records = (
        (withdrawal_key(movie_id), withdrawal.model_dump_json().encode() if withdrawal else None)
        for movie_id, withdrawal in movies.items()
    )
    return deliver(settings.kafka, settings.names.withdrawals, records, timeout_s)


def end_of_withdrawals(settings: Settings, timeout_s: float) -> int:
    """The offset after the last record. Raises as `ends`."""
    place = TopicPartition(settings.names.withdrawals, 0)
    return ends(settings.kafka, [place], Refusal(), timeout_s)[0].offset


def wait_for_workers(settings: Settings, offset: int, timeout_s: float) -> list[str]:
    """Read `releases` until every live worker has read `withdrawals` up to `offset`; returns the workers' names.

    A killed worker counts as live for a minute. A worker that starts writes its record first and then reads the topic to its
    end before it polls events: so an event that is published after this returns never gets a withdrawn movie.

    Raises:
        NotEverywhereError: not within `timeout_s`; names the workers.
        UnreachableError, SettingsError, MarqueeError: as `read_to_end`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        view = ReleasesView()
        for message in read_to_end(settings, settings.names.releases, timeout_s=timeout_s):
            view.apply(message.key(), message.value())
        behind = workers_behind(view, offset)
        if not behind:
            return sorted(worker.worker for worker in view.live_workers())
        if time.monotonic() >= deadline:
            raise NotEverywhereError(
                f"{', '.join(behind)} had not read the withdrawals within {timeout_s:g} s: they stand, and count there as "
                "soon as they are read; see `marquee status`"
            )
        time.sleep(_LOOK_SECONDS)


def workers_behind(view: ReleasesView, offset: int) -> list[str]:
    """The live workers that have not read `withdrawals` up to `offset`."""
    return sorted(w.worker for w in view.live_workers() if (w.withdrawals or 0) < offset)
