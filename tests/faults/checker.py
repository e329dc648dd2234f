"""The checker: compares the events sent with the records of two readers, as multisets, and trusts nothing of the worker.

The load gives each event a unique key, which the worker copies, so the source in a result is checked and not relied on. An
event without a key is identified by partition and offset, and so are the copies of an event that its producer sent twice: two
events, with a result each.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["recommendation", "dead letter"]

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Sent:
    """An acknowledged event: its partition and offset, the sha256 of its value (None for null), its required kind of result.

    `event_id` is what its recommendation must name, where that is not the key.
    """

    key: bytes | None
    partition: int
    offset: int
    digest: bytes | None
    ends_in: Kind | None = None  # None: either
    made_at: float = field(default=0.0, compare=False)  # the event's timestamp, in seconds
    event_id: str | None = None

    @property
    def names_itself(self) -> str:
        """The event id that its recommendation must have."""
        return self.event_id if self.event_id is not None else (self.key or b"").decode()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A committed record that a reader read; `source` is the source in the record.

    `at` is when it was seen and `stored_at` the broker's timestamp, both in seconds.
    """

    kind: Kind
    partition: int
    offset: int
    key: bytes | None
    source: tuple[str, int, int] | None
    digest: bytes | None
    event_id: str | None = None
    release: str | None = None
    collection: str | None = None
    at: float = field(default=0.0, compare=False)
    stored_at: float = field(default=0.0, compare=False)


Place = tuple[int, int]  # partition and offset
Name = tuple[bytes | None, Place | None]  # of an event
Answer = tuple[Name, Outcome]


@dataclass
class Findings:
    """How many records or events break each part of the promise, and some examples in words."""

    events: int
    lost: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    untrue: int = 0  # a source, a partition or an event id that is not the event's own
    altered: int = 0  # dead letters whose bytes are not the event's
    misjudged: int = 0  # a recommendation for poison, or a dead letter for a sound event
    mixed: int = 0  # a release that does not own the collection
    foreign: int = 0  # records of no event
    unlike: int = 0  # records that one of the readers saw and the other did not
    examples: list[str] = field(default_factory=list)

    @property
    def broken(self) -> dict[str, int]:
        """The parts of the promise that did not hold."""
        counts = {name: value for name, value in vars(self).items() if name not in ("events", "examples")}
        return {name: value for name, value in counts.items() if value}

    def note(self, part: str, what: object) -> None:
        """Count a finding; the first few of each part are kept in words."""
        count = getattr(self, part) + 1
        setattr(self, part, count)
        if count <= EXAMPLES:
            self.examples.append(f"{part}: {what}")


@dataclass(frozen=True)
class Truth:
    """The expected result: the events, and the collections of each release.

    `sent` are the acknowledged events and their copies in the topic. `unacknowledged` keys may be in the topic or not; None among
    them stands for every event without a key.
    """

    topic: str
    sent: Sequence[Sent]
    collections: Mapping[str, Collection[str]]
    unacknowledged: Collection[bytes | None] = ()


def check(truth: Truth, concurrent: Sequence[Outcome], later: Sequence[Outcome]) -> Findings:
    """Compare the records read from the beginning with the events sent, and with the records of the concurrent reader."""
    findings = Findings(events=len(truth.sent))
    keys = Counter(sent.key for sent in truth.sent)
    twice = {key for key, count in keys.items() if count > 1}
    events = {_name(twice, sent.key, (sent.partition, sent.offset)): sent for sent in truth.sent}
    answers = [
        (_name(twice, outcome.key, outcome.source and outcome.source[1:]), outcome) for outcome in later
    ]
    _count(findings, truth, events, answers)
    _order(findings, events, answers)
    for name, outcome in answers:
        sent = events.get(name)
        if sent is not None:
            _judge(findings, truth, sent, outcome)
    seen, seen_later = Counter(concurrent), Counter(later)
    for outcome in _more(seen, seen_later):
        findings.note("unlike", f"only the concurrent reader saw {_words(outcome)}")
    for outcome in _more(seen_later, seen):
        findings.note("unlike", f"the concurrent reader did not see {_words(outcome)}")
    return findings


def _name(twice: Collection[bytes | None], key: bytes | None, place: Place | None) -> Name:
    """The identity of an event: its key, with partition and offset where the key is null or not unique."""
    return key, place if key is None or key in twice else None


def _count(findings: Findings, truth: Truth, events: Mapping[Name, Sent], answers: Iterable[Answer]) -> None:
    """Each event ends in exactly one record."""
    counts = Counter(name for name, _ in answers)
    for name, sent in events.items():
        if name not in counts:
            findings.note("lost", sent)
    for name, count in counts.items():
        if name not in events and name[0] not in truth.unacknowledged:
            findings.note("foreign", name)
        for _ in range(count - 1):
            findings.note("duplicated", events.get(name, name))


def _order(findings: Findings, events: Mapping[Name, Sent], answers: Iterable[Answer]) -> None:
    """In each partition of each topic, results stand in the order of their events; a repetition is no disorder."""
    newest: dict[tuple[Kind, int], int] = defaultdict(lambda: -1)
    done: set[Name] = set()
    for name, outcome in sorted(
        answers, key=lambda answer: (answer[1].kind, answer[1].partition, answer[1].offset)
    ):
        sent = events.get(name)
        if sent is None or name in done:
            continue
        done.add(name)
        if sent.offset < newest[outcome.kind, outcome.partition]:
            findings.note("out_of_order", _words(outcome))
        newest[outcome.kind, outcome.partition] = max(sent.offset, newest[outcome.kind, outcome.partition])


def _judge(findings: Findings, truth: Truth, sent: Sent, outcome: Outcome) -> None:
    """Compare the fields of one record with its event."""
    place = (truth.topic, sent.partition, sent.offset)
    if outcome.source != place or outcome.partition != sent.partition:
        findings.note("untrue", f"{_words(outcome)} answers {place} and names {outcome.source}")
    if sent.ends_in not in (None, outcome.kind):
        findings.note("misjudged", f"{_words(outcome)} should be a {sent.ends_in}")
    if outcome.kind == "dead letter":
        if outcome.digest != sent.digest:
            findings.note("altered", _words(outcome))
        return
    if sent.ends_in == "recommendation" and outcome.event_id != sent.names_itself:
        findings.note("untrue", f"{_words(outcome)} names event {outcome.event_id}")
    if outcome.collection not in truth.collections.get(outcome.release or "", ()):
        findings.note("mixed", f"{_words(outcome)}: {outcome.release} with {outcome.collection}")


def _more(some: Counter[Outcome], others: Counter[Outcome]) -> list[Outcome]:
    return list((some - others).elements())


def _words(outcome: Outcome) -> str:
    return f"{outcome.kind} {outcome.partition}-{outcome.offset} of {outcome.key!r}"
