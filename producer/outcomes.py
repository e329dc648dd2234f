"""What became of recommendations: the counts of the outcomes worker, added up."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from producer.history import history
from schemas.feedback import (
    BUCKET_SECONDS,
    OUTCOMES_KEY_PREFIX,
    OutcomesRecord,
    RankOutcomes,
    read_outcomes,
)
from schemas.settings import Settings

GroupOf = Callable[[OutcomesRecord, int], str]


def outcomes(settings: Settings, since: datetime | None, timeout_s: float) -> Iterator[OutcomesRecord]:
    """The counts of ten minutes each, of those that begin or go on at `since` and after.

    Raises:
        UnreachableError, SettingsError, FatalKafkaError: as `history`.
        UnreadableOutcomesError: a record is not what the contract says, or of a newer Marquee.
    """
    newest: dict[bytes, bytes | None] = {}
    for message in history(settings, settings.names.outcomes, timeout_s=timeout_s):
        key = message.key() or b""
        if key.startswith(OUTCOMES_KEY_PREFIX.encode()):
            newest[key] = message.value()
    for key, value in newest.items():
        if value is None:
            continue
        record = read_outcomes(settings.names.outcomes, key, value)
        if since is None or record.since + timedelta(seconds=BUCKET_SECONDS) > since:
            yield record


def added_up(records: Iterable[OutcomesRecord], group_of: GroupOf) -> dict[str, RankOutcomes]:
    """The counts of each group, by its name; `group_of` is given a record and a rank, from 1 on."""
    totals: dict[str, RankOutcomes] = defaultdict(RankOutcomes)
    for record in records:
        for number, rank in enumerate(record.ranks, 1):
            total = totals[group_of(record, number)]
            for what in RankOutcomes.model_fields:
                setattr(total, what, getattr(total, what) + getattr(rank, what))
    return dict(totals)
