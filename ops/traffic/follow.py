"""Follows the endings of events with their latency, which needs the events' own timestamps."""

from collections import OrderedDict
from typing import Literal

from producer.endings import DeadLetter, Ending, endings_of
from producer.reader import Reader
from schemas.settings import Settings

# Largest number of events without an ending, at 40 bytes each; older events get no latency.
_MOST_EVENTS = 200_000


class TimedEndings(Reader):
    """Follows endings, and the timestamps of their events."""

    def __init__(self, settings: Settings, *, start: Literal["end", "beginning"], timeout_s: float) -> None:
        """Raises as `Reader`."""
        self._names = settings.names
        self._event_times: OrderedDict[tuple[int, int], int] = OrderedDict()
        topics = [self._names.profiles, self._names.recommendations, self._names.dead_letters]
        super().__init__(settings, topics, start=start, timeout_s=timeout_s)

    def endings(self, timeout_s: float) -> list[Ending]:
        """Read the endings since the last call. Raises as `EndingReader.endings`."""
        records = []
        for message in self.poll(timeout_s):
            if message.topic() != self._names.profiles:
                records.append(message)
            elif (place := (message.partition(), message.offset())) != (None, None):
                self._event_times[place] = message.timestamp()[1]  # type: ignore[index]  # a consumed record has both
        while len(self._event_times) > _MOST_EVENTS:
            self._event_times.popitem(last=False)
        return endings_of(records, self._names)

    def latency_ms(self, ending: Ending) -> int | None:
        """Milliseconds from the event's timestamp to the broker's of its ending; None if the event was not read (yet)."""
        if isinstance(ending, DeadLetter) and ending.topic != self._names.profiles:
            return None
        sent_at = self._event_times.get(ending.source)
        return None if sent_at is None else ending.timestamp_ms - sent_at
