"""Streams events through a running deployment, and records the ending of each."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from producer.endings import Ending, EndingReader, NoEndingError, Result
from producer.profiles import Delivery, ProfilePublisher
from schemas.profile import ProfileEvent
from schemas.settings import Settings

# Events in flight: two of the worker's batches, so that the worker never waits for events.
UNDER_WAY = 2_048
_PUBLISH_AT_A_TIME = 256
_WAIT_SECONDS = 0.05

Place = tuple[int, int]  # partition and offset of an event


@dataclass
class Ledger:
    """The events that were sent, and their endings. Endings of other producers' events are kept apart."""

    sent_at: dict[Place, int] = field(default_factory=dict)  # milliseconds since 1970, as all timestamps here
    endings: dict[Place, Ending] = field(default_factory=dict)
    twice: list[Place] = field(default_factory=list)
    answered: int = 0

    def sent(self, delivery: Delivery) -> None:
        """Record an event that is on the broker; its ending may be recorded already."""
        place = (delivery.partition, delivery.offset)
        self.sent_at[place] = delivery.timestamp_ms
        self.answered += place in self.endings

    def ended(self, ending: Ending) -> None:
        """Record a committed ending."""
        if ending.source in self.endings:
            self.twice.append(ending.source)
            return
        self.endings[ending.source] = ending
        self.answered += ending.source in self.sent_at

    def of_ours(self) -> Iterator[Ending]:
        """Iterate over the endings of the events that were sent here."""
        return (self.endings[place] for place in self.sent_at if place in self.endings)

    @property
    def results(self) -> list[Result]:
        return [ending for ending in self.of_ours() if isinstance(ending, Result)]

    @property
    def releases(self) -> Counter[str]:
        """Number of results by release."""
        return Counter(result.recommendation.release for result in self.results)

    def latency_ms(self, share: float) -> int:
        """Quantile of the time from an event's timestamp to the broker's timestamp of its ending."""
        latencies = sorted(ending.timestamp_ms - self.sent_at[ending.source] for ending in self.of_ours())
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))]


def stream(
    settings: Settings,
    events: Iterable[ProfileEvent],
    *,
    timeout_s: float = 60.0,
    report: Callable[[int], None] = lambda _: None,
) -> Ledger:
    """Publish the events, UNDER_WAY at a time, until each has its ending; `report` gets the number of endings.

    Raises:
        NoEndingError: nothing came for `timeout_s`.
        MarqueeError: as ProfilePublisher and EndingReader.
    """
    ledger = Ledger()
    pending = iter(events)
    with (
        EndingReader(settings, timeout_s=timeout_s) as reader,
        ProfilePublisher(settings, timeout_s=timeout_s, on_delivery=ledger.sent) as publisher,
    ):
        heard = time.monotonic()
        more = True
        while more or ledger.answered < publisher.counts.sent:
            if more and publisher.counts.sent - ledger.answered <= UNDER_WAY - _PUBLISH_AT_A_TIME:
                more = _publish(publisher, islice(pending, _PUBLISH_AT_A_TIME))
                continue
            publisher.poll()
            before = ledger.answered
            for ending in reader.endings(_WAIT_SECONDS):
                ledger.ended(ending)
            if ledger.answered > before:
                heard = time.monotonic()
                report(ledger.answered)
            elif time.monotonic() - heard > timeout_s:
                left = publisher.counts.sent - ledger.answered
                raise NoEndingError(f"{left:,} events have no result, and none came for {timeout_s:g} s")
    return ledger


def _publish(publisher: ProfilePublisher, events: Iterable[ProfileEvent]) -> bool:
    """Publish, and return whether there were any events."""
    before = publisher.counts.sent
    for event in events:
        publisher.publish(event)
    return publisher.counts.sent > before
