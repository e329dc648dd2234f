"""Checks of the servers: the brokers and their topics' settings, Milvus, the store."""

from collections.abc import Iterator

from ops.deployment.finding import Finding, note, ok, wrong
from schemas.errors import MarqueeError
from schemas.settings import Settings
from worker.kafka.cluster import TopicState
from worker.kafka.faults import CREATE, UNREAD_REMEDY, Fault, faults, unreadable
from worker.kafka.topics import topic_states


def servers(settings: Settings, timeout_s: float) -> Iterator[Finding]:
    """Check Kafka, each topic, Milvus and the store; each check waits up to `timeout_s`."""
    states: dict[str, TopicState] = {}
    try:
        states = {state.name: state for state in topic_states(settings, timeout_s)}
    except MarqueeError as error:
        yield wrong("kafka", str(error))
    else:
        yield ok("kafka", f"answers at {settings.kafka.bootstrap_servers}")
        yield from _topics(settings, states)
        yield from _brokers(settings, timeout_s)
    yield from _milvus(settings, timeout_s)
    yield _store(settings)
    if settings.names.releases in states:
        yield from _active_release(settings, timeout_s)


def _topics(settings: Settings, states: dict[str, TopicState]) -> Iterator[Finding]:
    names = settings.names
    profiles = states.get(names.profiles)
    if profiles is None:
        yield wrong("topics", f"there is no {names.profiles} (or it may not be seen)", CREATE)
        return
    missing = [name for name in names.topics if name not in states]
    if missing:
        yield wrong("topics", f"missing (or not to be seen): {', '.join(missing)}", CREATE)
    if unread := unreadable(states):
        yield note("topics", f"the settings of {', '.join(unread)} may not be read", UNREAD_REMEDY)
    found = faults(names, states)
    yield from map(_finding, found)
    if not missing and not unread and not found:
        yield ok(
            "topics", f"all {len(states)} are as they should be, {profiles.partitions} partitions of profiles"
        )
    if profiles.replicas < 3:
        yield note(
            "replication",
            f"{names.profiles} has {profiles.replicas} replica(s): what a broker loses is lost",
            "replication factor 3 and min.insync.replicas 2 wherever data matters",
        )


def _finding(fault: Fault) -> Finding:
    return (note if fault.severity == "note" else wrong)("topics", fault.problem, fault.remedy)


def _brokers(settings: Settings, timeout_s: float) -> Iterator[Finding]:
    """Check the limits of the brokers against the clients' settings."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
        AdminClient,
        ConfigResource,
        ResourceType,
    )

    from schemas import kafka

    admin = AdminClient(kafka.admin(settings.kafka, {"log_level": 0}))
    try:
        broker = next(iter(admin.list_topics(timeout=timeout_s).brokers))
        asked = admin.describe_configs(
            [ConfigResource(ResourceType.BROKER, str(broker))], request_timeout=timeout_s
        )
        found = {name: entry.value for name, entry in next(iter(asked.values())).result().items()}
    except KafkaException as error:
        yield note(
            "brokers",
            f"their settings may not be read ({error.args[0].str()})",
            "grant DescribeConfigs on the cluster to have them checked",
        )
        return
    limits = {
        "transaction.max.timeout.ms": settings.worker.transaction_timeout_ms,
        "group.max.session.timeout.ms": settings.worker.session_timeout_ms,
    }
    low = {name: needed for name, needed in limits.items() if int(found[name]) < needed}
    for name, needed in low.items():
        yield wrong(
            "brokers",
            f"{name} is {found[name]}, and the worker asks for {needed}",
            f"raise {name}, or lower MARQUEE_WORKER__SESSION_TIMEOUT_MS",
        )
    if not low:
        yield ok("brokers", "allow the session and transaction timeouts that the worker asks for")


def _milvus(settings: Settings, timeout_s: float) -> Iterator[Finding]:
    from worker.indexer.ownership import owner_of
    from worker.indexer.retention import has_our_name, named_collections
    from worker.kafka.reader import read_releases
    from worker.retrieval.milvus import Milvus

    limited = settings.milvus.model_copy(update={"timeout_s": min(timeout_s, settings.milvus.timeout_s)})
    server = Milvus(limited)
    try:
        owners = {name: server.owner(name) for name in server.list("") if has_our_name(settings.names, name)}
        version = server.version()
    except MarqueeError as error:
        yield wrong("milvus", str(error), "start it, or set MARQUEE_MILVUS__URI to where it is")
        return
    finally:
        server.close()
    try:
        view, owner = read_releases(settings, timeout_s), owner_of(settings, timeout_s)
    except MarqueeError:  # a finding about Kafka reports it
        yield ok("milvus", f"{version} at {settings.milvus.uri}")
        return
    ours = [name for name, found in owners.items() if found == owner or name in named_collections(view)]
    yield ok("milvus", f"{version} at {settings.milvus.uri}, {len(ours)} collection(s) of ours")
    if unmarked := [
        name for name, found in owners.items() if found == "" and name not in named_collections(view)
    ]:
        yield note(
            "collections",
            f"no owner is marked on {', '.join(unmarked)}, and no record names them: an earlier indexer may have left them half-built",
            "drop them by hand once no deployment needs them",
        )


def _store(settings: Settings) -> Finding:
    from worker.release.store import ReleaseStore

    try:
        releases = ReleaseStore(settings.store).names()
    except (MarqueeError, OSError, ValueError, ImportError) as error:
        return wrong("store", f"{settings.store}: {error}", "set MARQUEE_STORE to where the releases are")
    if not releases:
        return note(
            "store",
            f"no release in {settings.store}",
            "`marquee train` writes one, `marquee demo` does it all",
        )
    return ok("store", f"{len(releases)} release(s) in {settings.store}, the newest {releases[-1]}")


def _active_release(settings: Settings, timeout_s: float) -> Iterator[Finding]:
    """Check the active release's files: workers that serve it do without them, but a worker that starts needs them."""
    from worker.kafka.reader import read_releases
    from worker.release.store import ReleaseStore

    try:
        active = read_releases(settings, timeout_s).active
        missing = ReleaseStore(settings.store).missing(active.release) if active else []
    except MarqueeError as error:
        yield wrong(
            "release", str(error), "copy the active release into the store again, or activate another"
        )
        return
    if active and missing:
        lacks = f"the active release {active.release} lacks {', '.join(missing)} in {settings.store}"
        yield wrong("release", lacks, "copy it into the store again, or activate another")
    elif active:
        yield ok(
            "release", f"{active.release} is active, epoch {active.epoch}, and its files are in the store"
        )
