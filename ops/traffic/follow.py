"""What becomes of events, with the time that each took: the timestamps of events are on their own topic."""

from collections import OrderedDict
from typing import Literal

from producer.endings import DeadLetter, Ending, endings_of
from producer.reader import Reader
from schemas.settings import Settings

# Events whose answer is awaited, at 40 bytes each; those that came before the first of them have no latency.
_AWAITED = 200_000


class TimedEndings(Reader):
    """Follows endings, and beside them the events that they answer."""

    def __init__(self, settings: Settings, *, start: Literal["end", "beginning"], timeout_s: float) -> None:
        """Raises as `Reader`."""
        self._names = settings.names
        self._event_times: OrderedDict[tuple[int, int], int] = OrderedDict()
        topics = [self._names.profiles, self._names.recommendations, self._names.dead_letters]
        super().__init__(settings, topics, start=start, timeout_s=timeout_s)

    def endings(self, timeout_s: float) -> list[Ending]:
        """What has become of events since the last call. Raises as `EndingReader.endings`."""
        records = []
        for message in self.poll(timeout_s):
            if message.topic() != self._names.profiles:
                records.append(message)
            elif (place := (message.partition(), message.offset())) != (None, None):
                self._event_times[place] = message.timestamp()[1]  # type: ignore[index]  # a consumed record has both
        while len(self._event_times) > _AWAITED:
            self._event_times.popitem(last=False)
        return endings_of(records, self._names)

    def latency_ms(self, ending: Ending) -> int | None:
        """From the event's timestamp to the broker's of its ending; None where the event was not seen (yet)."""
        if isinstance(ending, DeadLetter) and ending.topic != self._names.profiles:
            return None
        sent_at = self._event_times.get(ending.source)
        return None if sent_at is None else ending.timestamp_ms - sent_at
