"""The topics of a deployment: created, grown, fixed and watched (docs/contract.md)."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Self

from schemas.errors import MarqueeError, SettingsError, UnreachableError
from schemas.names import Names
from schemas.settings import Settings
from schemas.topics import MAX_BYTES, TOPICS, Role, Topic
from worker.kafka.admin import AdminProcess
from worker.kafka.cluster import Cluster, NewState, TopicState
from worker.kafka.faults import UNREAD_REMEDY, Fault, faults, unreadable, waiting
from worker.monitoring.http import Health
from worker.monitoring.threads import start_side

log = logging.getLogger(__name__)

_TOPICS_SECONDS = 5.0
_WAIT_SECONDS = 1.0
# An operator's change is reported within a minute: this, and a look.
LOOK_SECONDS = 45.0


def planned_topics(names: Names, partitions: int, profiles_max_bytes: int) -> list[NewState]:
    """Every topic but `profiles`, which has `partitions` partitions and takes records of `profiles_max_bytes`."""
    return [
        NewState(topic.name_in(names), 1 if topic.single else partitions, topic.config(profiles_max_bytes))
        for topic in _others()
    ]


def ensure_topics(settings: Settings, timeout_s: float) -> None:
    """Create missing topics and grow small ones; with `kafka.create_topics` off, only check.

    Raises:
        UnreachableError: Kafka did not answer within `timeout_s`.
        SettingsError: Kafka refused us or a topic, or topics are missing and `kafka.create_topics` is off.
    """
    cluster = Cluster(settings, timeout_s)
    if not settings.kafka.create_topics:
        _check(settings.names, cluster.topics())
        return
    if settings.names.profiles not in cluster.topics():
        cluster.create([NewState(settings.names.profiles, settings.kafka.partitions)], [])
    profiles = cluster.describe([settings.names.profiles])[0]
    planned = planned_topics(settings.names, profiles.partitions, int(profiles.config[MAX_BYTES]))
    there = cluster.topics()
    cluster.create([topic for topic in planned if topic.name not in there], [profiles.config[MAX_BYTES]])
    # The new ones too: another process may have created them meanwhile, with settings of its own.
    states = cluster.describe([topic.name for topic in planned])
    for topic, state in zip(_others(), states, strict=True):
        _fit(cluster, topic, state, profiles)


def topic_states(settings: Settings, timeout_s: float) -> list[TopicState]:
    """The deployment's topics that may be seen, in the order of the table. Raises as `ensure_topics`."""
    found = {state.name: state for state in Cluster(settings, timeout_s).look(settings.names.topics)}
    return [found[name] for name in settings.names.topics if name in found]


def fix_topics(settings: Settings, timeout_s: float) -> list[Fault]:
    """Change settings of existing topics, and return the faults that remain. Raises as `ensure_topics`."""
    cluster = Cluster(settings, timeout_s)
    names = settings.names
    states = {state.name: state for state in cluster.look(names.topics)}
    for fault in faults(names, states):
        if fault.value is not None:
            _set(cluster, fault, fault.value, states[names.profiles])
    return faults(names, {state.name: state for state in cluster.look(names.topics)})


def _set(cluster: Cluster, fault: Fault, value: str, profiles: TopicState) -> None:
    if fault.setting != MAX_BYTES:
        cluster.configure(fault.topic, fault.setting, value)
    elif fault.severity == "note":  # as large as profiles by now
        cluster.enlarge(fault.topic, [value])
    else:
        cluster.enlarge(fault.topic, [value, profiles.config[MAX_BYTES]])


def _others() -> list[Topic]:
    return [topic for topic in TOPICS if topic.name != "profiles"]


def _check(names: Names, there: Mapping[str, int]) -> None:
    missing = [name for name in names.topics if name not in there]
    if missing:
        raise SettingsError(
            f"topics are missing (or may not be seen): {', '.join(missing)}; create them with `marquee topics`, "
            "or set MARQUEE_KAFKA__CREATE_TOPICS=true"
        )
    for name in (topic.name_in(names) for topic in TOPICS if topic.follows_profiles):
        if there[name] < there[names.profiles]:
            raise SettingsError(
                f"{name} has {there[name]} partitions and {names.profiles} has {there[names.profiles]}; "
                "give it as many, because a result goes to its event's partition number"
            )


def _fit(cluster: Cluster, topic: Topic, state: TopicState, profiles: TopicState) -> None:
    if topic.follows_profiles and state.partitions < profiles.partitions:
        cluster.grow(state.name, profiles.partitions)
    there, own = int(state.config[MAX_BYTES]), int(profiles.config[MAX_BYTES])
    wanted = int(topic.config(own).get(MAX_BYTES, 0))
    cluster.enlarge(
        state.name, [str(size) for size in dict.fromkeys((wanted, own)) if there < size <= wanted]
    )


class TopicWatch:
    """Looks at the topics before the process polls any record, then every 45 s, in a thread that no poll waits for."""

    def __init__(self, settings: Settings, role: Role, health: Health) -> None:
        self._settings, self._role, self._health = settings, role, health
        self._logged: set[str] = set()
        self._left = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def wait(self, stopped: Callable[[float], bool]) -> None:
        """Create and check the topics, for as long as Kafka is away or a fault stops this process; then watch on.

        Args:
            stopped: waits up to so many seconds, and returns whether this process has to end.

        Raises:
            SettingsError: as `ensure_topics`.
        """
        while not stopped(0.0):
            self._health.turn()
            try:
                ensure_topics(self._settings, _TOPICS_SECONDS)
                self._health.set("kafka", None)
                if self._judge(topic_states(self._settings, _TOPICS_SECONDS)):
                    break
            except UnreachableError as error:
                self._health.set("kafka", str(error))
                log.warning("waiting for Kafka: %s", error)
            stopped(_WAIT_SECONDS)
        start_side("topics", self._run, self._left)

    def _judge(self, seen: list[TopicState]) -> bool:
        """Whether the topics keep the promises of this process; readiness and log name each fault."""
        states = {state.name: state for state in seen}
        found = faults(self._settings.names, states)
        stopping = waiting(found, self._role)
        self._health.set("topics", "; ".join(map(str, stopping)) or None)
        unread = unreadable(states)
        self._log(
            *map(str, found),
            *([f"the settings of {', '.join(unread)} may not be read; {UNREAD_REMEDY}"] if unread else []),
        )
        return not stopping

    def _log(self, *problems: str) -> None:
        """Log the problems that are new since the last look."""
        for problem in problems:
            if problem not in self._logged:
                log.warning("%s", problem)
        self._logged = set(problems)

    def _run(self) -> None:
        while not self._left.wait(LOOK_SECONDS):
            try:
                with AdminProcess() as admin:
                    self._judge(
                        admin.call(topic_states, self._settings, _TOPICS_SECONDS, seconds=2 * _TOPICS_SECONDS)
                    )
            except MarqueeError as error:  # the process' own clients report Kafka being away
                log.debug("topics not looked at: %s", error)
