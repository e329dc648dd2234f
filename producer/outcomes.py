"""The counts of the outcomes worker, added up."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from producer.reader import read_to_end
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
    """The counts of each ten minutes that end after `since`.

    Raises:
        UnreachableError, SettingsError, FatalKafkaError: as `read_to_end`.
        UnreadableOutcomesError: a record is not as the contract says, or of a newer Marquee.
    """
    newest: dict[bytes, bytes | None] = {}
    for message in read_to_end(settings, settings.names.outcomes, timeout_s=timeout_s):
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
            for field in RankOutcomes.model_fields:
                setattr(total, field, getattr(total, field) + getattr(rank, field))
    return dict(totals)
