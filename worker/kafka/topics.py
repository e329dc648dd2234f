"""The topics of a deployment: creates what is missing, makes what is there fit, and finds what does not (docs/contract.md)."""

from collections.abc import Mapping

from schemas.errors import SettingsError
from schemas.names import Names
from schemas.settings import Settings
from schemas.topics import MAX_BYTES, TOPICS, Topic
from worker.kafka.topic_admin import Cluster, NewState, TopicState
from worker.kafka.topic_checks import Fault, faults

__all__ = ["MAX_BYTES", "TopicState", "ensure_topics", "fix_topics", "topic_states"]


def planned_topics(names: Names, partitions: int, profiles_max_bytes: int) -> list[NewState]:
    """Every topic but `profiles`, which has `partitions` partitions and takes records of `profiles_max_bytes`."""
    return [
        NewState(topic.name_in(names), 1 if topic.single else partitions, topic.config(profiles_max_bytes))
        for topic in _others()
    ]


def ensure_topics(settings: Settings, timeout_s: float) -> None:
    """Create what is missing and grow what is too small; with `kafka.create_topics` off, only check.

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
    """Set what can be set on topics that are there; gives the faults that remain. Raises as `ensure_topics`."""
    cluster = Cluster(settings, timeout_s)
    names = settings.names
    states = {state.name: state for state in cluster.look(names.topics)}
    for fault in faults(names, states):
        if fault.mend is not None:
            _set(cluster, fault, fault.mend, states[names.profiles])
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
