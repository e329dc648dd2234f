"""What became of recommendations: the counts of the outcomes worker, added up."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from pydantic import ValidationError

from producer.history import history
from schemas.errors import MarqueeError
from schemas.feedback import BUCKET_SECONDS, OUTCOMES_KEY_PREFIX, OutcomesRecord, RankOutcomes
from schemas.settings import Settings

GroupOf = Callable[[OutcomesRecord, int], str]


def outcomes(settings: Settings, since: datetime | None, timeout_s: float) -> Iterator[OutcomesRecord]:
    """The counts of ten minutes each, of those that begin or go on at `since` and after.

    Raises:
        UnreachableError, SettingsError, FatalKafkaError: as `history`.
        MarqueeError: a record is not what the contract says.
    """
    newest: dict[bytes, bytes | None] = {}
    for message in history(settings, settings.names.outcomes, timeout_s=timeout_s):
        key = message.key() or b""
        if key.startswith(OUTCOMES_KEY_PREFIX.encode()):
            newest[key] = message.value()
    for key, value in newest.items():
        if value is None:
            continue
        record = _read(settings.names.outcomes, key, value)
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


def _read(topic: str, key: bytes, value: bytes) -> OutcomesRecord:
    try:
        return OutcomesRecord.model_validate_json(value)
    except ValidationError as error:
        raise MarqueeError(
            f"the record {key!r} of {topic} cannot be read ({error.errors()[0]['msg']}); upgrade Marquee, or find who else "
            "writes to the topic"
        ) from None
