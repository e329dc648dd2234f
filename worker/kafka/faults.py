"""Faults of the topics' settings, each with its remedy and the processes that wait until it is fixed. Makes no calls."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.names import Names
from schemas.topics import CLEANUP, MAX_BYTES, PROCESSES, TIMESTAMPS, TOPICS, Role, Topic
from worker.kafka.cluster import TopicState

# stops: a promise is broken, and processes wait. wrong: a few records are lost or miscounted, and the fault is logged.
# note: as good as a provider allows.
Severity = Literal["stops", "wrong", "note"]
CREATE = "run `marquee topics`, which creates and fits them"
UNREAD_REMEDY = "grant DescribeConfigs on them (`marquee acls`) to have them checked"


@dataclass(frozen=True)
class Fault:
    """One setting of one topic that is not as the table says; `value` is the one that `marquee topics --fix` sets."""

    topic: str
    setting: str
    problem: str
    remedy: str
    severity: Severity
    waiting: frozenset[Role] = frozenset()
    value: str | None = None

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}"


def faults(names: Names, states: Mapping[str, TopicState]) -> list[Fault]:
    """The faults of these topics, in the order of the table; an unknown setting is no fault."""
    profiles = states.get(names.profiles)
    found: list[Fault] = []
    for topic in TOPICS:
        state = states.get(topic.name_in(names))
        if state is not None:
            found += [*_partitions(topic, state, profiles), *_cleanup(topic, state)]
            found += [*_timestamps(topic, state), *_size(topic, state, profiles)]
    return found


def waiting(found: list[Fault], role: Role) -> list[Fault]:
    """Those that a process of this role waits for."""
    return [fault for fault in found if role in fault.waiting]


def unreadable(states: Mapping[str, TopicState]) -> list[str]:
    """The topics whose settings this client may not read."""
    return [name for name, state in states.items() if not state.config]


def _users(topic: Topic) -> frozenset[Role]:
    return (topic.written_by | topic.read_by) & PROCESSES.keys()


def _partitions(topic: Topic, state: TopicState, profiles: TopicState | None) -> Iterator[Fault]:
    if topic.single and state.partitions > 1:
        yield Fault(
            state.name,
            "partitions",
            f"{state.name} has {state.partitions} partitions, and only partition 0 of it is read",
            f"stop the processes, delete the topic, and run `marquee topics`; then {topic.if_made_anew}",
            "stops",
            _users(topic),
        )
    if topic.follows_profiles and profiles and state.partitions < profiles.partitions:
        yield Fault(
            state.name,
            "partitions",
            f"{state.name} has {state.partitions} partitions, its events {profiles.partitions}",
            CREATE,
            "wrong",
        )


def _cleanup(topic: Topic, state: TopicState) -> Iterator[Fault]:
    found = state.config.get(CLEANUP)
    if found is None or set(found.split(",")) == set(topic.cleanup.split(",")):
        return
    # A compacted topic with a retention that never removes records loses nothing.
    harmless = topic.cleanup == "compact,delete" and found == "compact"
    loses = "never removes records" if harmless else _what_goes(topic)
    yield Fault(
        state.name,
        CLEANUP,
        f"{state.name} has {CLEANUP}={found}, which {loses}",
        _set(state.name, CLEANUP, topic.cleanup),
        "wrong" if harmless else "stops",
        frozenset() if harmless else _users(topic),
        topic.cleanup,
    )


def _what_goes(topic: Topic) -> str:
    if topic.compacted:
        return "removes records that are still in force"
    if topic.follows_profiles:
        return "removes results and refuses those without a key"
    return "removes records before they are read"


def _timestamps(topic: Topic, state: TopicState) -> Iterator[Fault]:
    found = state.config.get(TIMESTAMPS)
    if topic.broker_timestamps and found not in (None, "LogAppendTime"):
        yield Fault(
            state.name,
            TIMESTAMPS,
            f"{state.name} has {TIMESTAMPS}={found}: its records bear the clocks of their writers",
            _set(state.name, TIMESTAMPS, "LogAppendTime"),
            "wrong",
            value="LogAppendTime",
        )


def _size(topic: Topic, state: TopicState, profiles: TopicState | None) -> Iterator[Fault]:
    found = state.config.get(MAX_BYTES)
    events = profiles.config.get(MAX_BYTES) if profiles else None
    if not topic.follows_profiles or found is None or events is None:
        return
    wanted = topic.config(int(events))[MAX_BYTES]
    if int(found) < int(wanted):
        yield Fault(
            state.name,
            MAX_BYTES,
            f"{state.name} takes records of {found} bytes, and {wanted} are needed",
            _set(state.name, MAX_BYTES, wanted),
            # A provider's ceiling may leave no more than the size of profiles.
            "note" if int(found) >= int(events) else "wrong",
            value=wanted,
        )


def _set(topic: str, setting: str, value: str) -> str:
    return f"set {setting}={value} on {topic}, as `marquee topics --fix` does"
