"""Streams events through a running deployment, and accounts for what became of each."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from producer.endings import Ending, EndingReader, NoEndingError, Result
from producer.profiles import Delivery, ProfilePublisher
from schemas.profile import ProfileEvent
from schemas.settings import Settings

# Events under way at a time: two of the worker's batches, so that it never waits for us, and hardly any wait for it.
UNDER_WAY = 2_048
_PUBLISH_AT_A_TIME = 256
_WAIT_SECONDS = 0.05

Place = tuple[int, int]  # partition and offset of an event


@dataclass
class Ledger:
    """What was sent, and what became of it. Outcomes of events that somebody else sent are kept apart."""

    sent_at: dict[Place, int] = field(default_factory=dict)  # milliseconds since 1970, as all timestamps here
    endings: dict[Place, Ending] = field(default_factory=dict)
    twice: list[Place] = field(default_factory=list)
    answered: int = 0

    def sent(self, delivery: Delivery) -> None:
        """An event is on the broker; its ending may have been seen before this is."""
        place = (delivery.partition, delivery.offset)
        self.sent_at[place] = delivery.timestamp_ms
        self.answered += place in self.endings

    def ended(self, ending: Ending) -> None:
        """An ending was committed."""
        if ending.source in self.endings:
            self.twice.append(ending.source)
            return
        self.endings[ending.source] = ending
        self.answered += ending.source in self.sent_at

    def of_ours(self) -> Iterator[Ending]:
        """The endings of what we sent."""
        return (self.endings[place] for place in self.sent_at if place in self.endings)

    @property
    def results(self) -> list[Result]:
        return [ending for ending in self.of_ours() if isinstance(ending, Result)]

    @property
    def releases(self) -> Counter[str]:
        """How many results each release made."""
        return Counter(result.recommendation.release for result in self.results)

    def latency_ms(self, share: float) -> int:
        """What this share of the events stayed below, from an event's timestamp to the broker's of its ending."""
        latencies = sorted(ending.timestamp_ms - self.sent_at[ending.source] for ending in self.of_ours())
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))]


def stream(
    settings: Settings,
    events: Iterable[ProfileEvent],
    *,
    timeout_s: float = 60.0,
    report: Callable[[int], None] = lambda _: None,
) -> Ledger:
    """Publish the events, UNDER_WAY at a time, until each has its ending; `report` hears how many have.

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
                raise NoEndingError(f"{left:,} events are unanswered, and no answer came for {timeout_s:g} s")
    return ledger


def _publish(publisher: ProfilePublisher, events: Iterable[ProfileEvent]) -> bool:
    """Whether there were any."""
    before = publisher.counts.sent
    for event in events:
        publisher.publish(event)
    return publisher.counts.sent > before
