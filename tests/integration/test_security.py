"""A Kafka that asks who we are, over TLS, and lets each role do what `marquee acls` says and nothing else."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from ops.deployment.acls import ROLES, Role, rights
from ops.deployment.servers import servers
from producer.commands import send_command, wait_for_outcome
from producer.dead_letters import Redriver
from producer.endings import DeadLetter, EndingReader, Result
from producer.outcomes import outcomes
from producer.profiles import publish_one
from schemas import kafka
from schemas.errors import SettingsError
from schemas.names import Names
from schemas.recommendation import Recommendation
from schemas.release import ReleaseCommand
from schemas.settings import Settings, load_settings
from tests.integration.kafka_acls import carry_out
from tests.integration.secure_kafka import PASSWORD, SecureKafka, secure_kafka
from tests.integration.test_refused_settings import run_stream
from tests.testbed.kafka import CLIENT
from tests.testbed.processes import Process, marquee, wait_for
from worker.kafka.topics import ensure_topics
from worker.release.store import ReleaseStore

PREFIX = "guarded."
WAIT = 120.0
pytestmark = pytest.mark.timeout(900)  # servers of its own, beside those of the session

Ways = Callable[[SecureKafka], dict[str, object]]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    folder = tmp_path_factory.mktemp("secure")
    with pytest.MonkeyPatch.context() as patch:
        # Kafka's own guard against being made to read any file.
        patch.setenv(
            "JDK_JAVA_OPTIONS",
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={(folder / 'jwks.json').as_uri()}",
        )
        with secure_kafka(folder) as server:
            for role in ROLES:
                server.add_user(role)
            yield server


def scram(server: SecureKafka, user: str = "worker") -> dict[str, object]:
    return {
        "bootstrap_servers": server.sasl_ssl,
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": user,
        "sasl_password": PASSWORD,
        "ssl_ca_location": server.ca,
    }


def oauth(server: SecureKafka) -> dict[str, object]:
    return {
        "bootstrap_servers": server.sasl_ssl,
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauth_token_url": server.token_url,
        "sasl_oauth_client_id": "worker",
        "sasl_oauth_client_secret": PASSWORD,
        "ssl_ca_location": server.ca,
    }


def certificate(server: SecureKafka, authority: trustme.CA | None = None) -> dict[str, object]:
    pem, key = server.certificate("worker" if authority is None else "stranger", authority)
    return {
        "bootstrap_servers": server.ssl,
        "security_protocol": "SSL",
        "ssl_ca_location": server.ca,
        "ssl_certificate_location": pem,
        "ssl_key_location": key,
    }


@pytest.mark.parametrize("way", [scram, oauth, certificate])
def test_three_ways_in(guarded: SecureKafka, way: Ways) -> None:
    settings = load_settings(kafka=way(guarded))
    admin = AdminClient(kafka.admin(settings.kafka, {"log_level": 0}))
    assert admin.list_topics(timeout=WAIT).brokers


def another_ca(server: SecureKafka) -> dict[str, object]:
    file = server.folder / "another-ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return scram(server) | {"ssl_ca_location": file}


def no_certificate(server: SecureKafka) -> dict[str, object]:
    whole = certificate(server)
    return {name: whole[name] for name in ("bootstrap_servers", "security_protocol", "ssl_ca_location")}


WRONG: dict[str, Ways] = {
    "password": lambda server: scram(server) | {"sasl_password": "battery-staple"},
    "user": lambda server: scram(server, "nobody"),
    "client secret": lambda server: oauth(server) | {"sasl_oauth_client_secret": "battery-staple"},
    "a stranger's certificate": lambda server: certificate(server, trustme.CA()),
    "no certificate": no_certificate,
    "a broker whose authority we do not know": another_ca,
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_a_sentence_and_ends_with_2(guarded: SecureKafka, what: str) -> None:
    settings = load_settings(kafka=WRONG[what](guarded))
    with pytest.raises(SettingsError, match=r"refused the credentials.*check the MARQUEE_KAFKA__") as refusal:
        ensure_topics(settings, WAIT)
    assert refusal.value.exit_code == 2
    assert "battery-staple" not in str(refusal.value)


@pytest.fixture
def roles(guarded: SecureKafka, lite_settings: Settings, fusion_store: str) -> dict[Role, Settings]:
    """Settings of each role on one deployment; each has the rights that `marquee acls` prints, and no other."""
    server = guarded.server.bootstrap_servers
    printed = marquee(lite_settings, "acls", "--prefix", PREFIX, "--bootstrap-servers", server)
    assert printed.returncode == 0, printed.stderr
    said = carry_out(printed.stdout, guarded.folder)
    assert said.count("Adding ACLs for resource") == sum(len(rights(role, Names(PREFIX))) for role in ROLES)
    return {
        role: load_settings(
            prefix=PREFIX,
            store=fusion_store,
            kafka={**scram(guarded, role), "create_topics": role == "admin", "client": CLIENT},
            milvus={"uri": lite_settings.milvus.uri},
        )
        for role in ROLES
    }


def test_each_role_can_do_its_job_and_nothing_else(
    guarded: SecureKafka, roles: dict[Role, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARQUEE_HTTP__PORT", "0")  # the doctor looks whether it is free
    ensure_topics(roles["admin"], WAIT)
    with (
        Process("indexer", roles["indexer"], tmp_path),
        Process("worker", roles["worker"], tmp_path) as worker,
        Process("outcomes-worker", roles["outcomes"], tmp_path),
    ):
        command = ReleaseCommand(action="index", release=ReleaseStore(roles["admin"].store).names()[-1])
        send_command(roles["admin"], command, WAIT)
        assert wait_for_outcome(roles["admin"], command, 120).outcome == "done"
        worker.wait_ready(WAIT)
        with EndingReader(roles["reader"], timeout_s=WAIT) as reader:
            good = publish_one(roles["producer"], {"user_id": 1}, timeout_s=WAIT)
            answer = reader.ending_of(good.partition, good.offset, WAIT)
            assert isinstance(answer, Result)
            bad = publish_one(roles["producer"], b"{", timeout_s=WAIT)
            assert isinstance(reader.ending_of(bad.partition, bad.offset, WAIT), DeadLetter)
        say_what_was_done(roles["producer"], answer.recommendation)
        wait_for("the counts", lambda: list(outcomes(roles["admin"], None, WAIT)), WAIT)
        for arguments in ADMINS:
            done = marquee(roles["admin"], *arguments)
            assert done.returncode == 0, (arguments, done.stdout, done.stderr)

    assert_nothing_else(guarded, roles)


@pytest.fixture(scope="module")
def untransacted(guarded: SecureKafka) -> Settings:
    """A user with every right but those to transactional ids, and to read the settings of topics."""
    prefix, user = "untransacted.", "untransacted"
    guarded.add_user(user)
    everything = [
        AclBinding(kind, prefix, ResourcePatternType.PREFIXED, f"User:{user}", "*", operation, ALLOW)
        for kind, operations in (
            (ResourceType.TOPIC, (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE)),
            (ResourceType.GROUP, (AclOperation.READ,)),
        )
        for operation in operations
    ]
    admin = guarded.super_user
    for future in admin.create_acls(everything, request_timeout=WAIT).values():
        future.result()
    creator: dict[str, object] = {"bootstrap_servers": guarded.server.bootstrap_servers}
    ensure_topics(load_settings(prefix=prefix, kafka=creator), WAIT)
    return load_settings(prefix=prefix, kafka={**scram(guarded, user), "create_topics": False})


@pytest.mark.parametrize("role", ["indexer", "outcomes-worker"])
def test_a_refused_transactional_id_ends_a_process_with_2(
    untransacted: Settings, tmp_path: Path, role: str
) -> None:
    with Process(role, untransacted, tmp_path) as process:
        assert process.child.wait(WAIT) == 2
        assert (
            "transactional id, as `marquee acls` prints it; it is named by MARQUEE_PREFIX" in process.output
        )
        assert "Traceback" not in process.output
        # It ran as far as this although it may not read how the topics are kept, and said so once.
        assert process.output.count("may not be read; grant DescribeConfigs") == 1


def test_a_refused_transactional_id_ends_a_worker_s_stream_and_a_redrive_with_2(
    untransacted: Settings,
) -> None:
    for run in (lambda: run_stream(untransacted), lambda: Redriver(untransacted, WAIT)):
        with pytest.raises(SettingsError, match=r"transactional id.*MARQUEE_PREFIX") as refusal:
            run()
        assert refusal.value.exit_code == 2


def test_the_doctor_says_what_it_may_not_read(untransacted: Settings) -> None:
    found = [finding for finding in servers(untransacted, WAIT) if finding.part == "topics"]
    assert [finding.state for finding in found] == ["note"]
    assert "may not be read" in found[0].detail
    assert "DescribeConfigs" in str(found[0].mend)


ADMINS = (
    ["topics"],
    ["status"],
    ["releases"],
    ["doctor"],
    ["withdraw", "1", "--wait"],
    ["withdrawals"],
    ["recommend", "-u", "1"],
    ["outcomes"],
    ["dead-letters", "list"],
    ["dead-letters", "redrive", "--all"],
)


def say_what_was_done(settings: Settings, answer: Recommendation) -> None:
    """Feedback, one that can be read and one that cannot."""
    producer = Producer(kafka.producer(settings.kafka))
    deed = {"event_id": answer.event_id, "movie_id": answer.movies[0].movie_id, "action": "clicked"}
    for value in (json.dumps(deed).encode(), b"{"):
        producer.produce(settings.names.feedback, value)
    assert producer.flush(WAIT) == 0


NAMES = Names(PREFIX)
READS: dict[Role, set[str]] = {
    "worker": {
        NAMES.profiles,
        NAMES.recommendations,
        NAMES.dead_letters,
        NAMES.releases,
        NAMES.withdrawals,
    },
    "indexer": {NAMES.release_commands, NAMES.releases},
    "outcomes": {NAMES.profiles, NAMES.recommendations, NAMES.feedback, NAMES.outcomes},
    "producer": set(),
    "reader": {NAMES.recommendations, NAMES.dead_letters},
    "admin": set(NAMES.topics),
}
WRITES: dict[Role, set[str]] = {
    "worker": {NAMES.recommendations, NAMES.dead_letters, NAMES.releases},
    "indexer": {NAMES.releases},
    "outcomes": {NAMES.outcomes, NAMES.dead_letters},
    "producer": {NAMES.profiles, NAMES.feedback},
    "reader": set(),
    "admin": set(NAMES.topics),
}
# Where one follows a compacted topic, brokers ask for the right to a group of that name.
GROUPS: dict[Role, set[str]] = {
    "worker": {"worker", "releases", "withdrawals"},
    "indexer": {"indexer", "releases"},
    "outcomes": {"outcomes"},
    "producer": set(),
    "reader": {"reader"},
    "admin": {"worker", "indexer", "outcomes", "releases", "withdrawals", "reader"},
}
TRANSACTIONAL_IDS: dict[Role, set[str]] = {
    "worker": {"worker.any"},
    "indexer": {"indexer.any"},
    "outcomes": {"outcomes"},
    "producer": set(),
    "reader": set(),
    "admin": {"redrive"},
}


def assert_nothing_else(server: SecureKafka, roles: dict[Role, Settings]) -> None:
    """Every role tries everything."""
    groups, ids = set().union(*GROUPS.values()), set().union(*TRANSACTIONAL_IDS.values())
    # To see that a topic may not be read takes a group that may be used.
    any_group = AclBinding(
        ResourceType.GROUP, PROBE, ResourcePatternType.LITERAL, "User:*", "*", AclOperation.READ, ALLOW
    )
    admin = server.super_user
    for future in admin.create_acls([any_group], request_timeout=WAIT).values():
        future.result()
    for role, settings in roles.items():
        assert readable(settings) == READS[role], role
        assert writable(settings) == WRITES[role], role
        assert {name for name in groups if may_use_group(settings, f"{PREFIX}{name}")} == GROUPS[role], role
        assert {name for name in ids if may_take_id(settings, f"{PREFIX}{name}")} == TRANSACTIONAL_IDS[role]
        if role != "admin":
            kafka_settings = settings.kafka.model_copy(update={"create_topics": True})
            others = {"kafka": kafka_settings, "prefix": f"{settings.prefix}others."}
            with pytest.raises(SettingsError, match="refused a topic or its settings"):
                ensure_topics(settings.model_copy(update=others), WAIT)


PROBE = "probe"
ALLOW = AclPermissionType.ALLOW


def readable(settings: Settings) -> set[str]:
    """The topics of which it may read the first partition."""
    own = {"enable.partition.eof": True, "log_level": 0}
    consumer = Consumer(kafka.reader(settings.kafka, PROBE, own))
    # Of a topic that may not be seen a consumer says nothing at all.
    seen = {
        name for name in settings.names.topics if consumer.list_topics(name, WAIT).topics[name].error is None
    }
    consumer.assign([TopicPartition(name, 0, OFFSET_BEGINNING) for name in seen])
    tried: dict[str | None, bool] = {}
    while tried.keys() != seen:
        message = consumer.poll(WAIT)
        assert message is not None, (seen, tried)
        error = message.error()
        refused = error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
        tried.setdefault(message.topic(), not refused)
    consumer.close()
    return {name for name in seen if tried[name]}


def writable(settings: Settings) -> set[str]:
    """The topics to which it may write."""
    written: set[str] = set()

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            written.add(str(message.topic()))
        else:
            assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, error

    # Without a right to any topic there is no idempotent producer, which would answer for the topics.
    producer = Producer(kafka.producer(settings.kafka, {"enable.idempotence": False, "log_level": 0}))
    for name in settings.names.topics:
        try:
            producer.produce(name, b"{}", b"probe", partition=0, on_delivery=delivered)
        except KafkaException as refusal:  # it may not even see the topic
            assert refusal.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert producer.flush(WAIT) == 0
    return written


def may_use_group(settings: Settings, group: str) -> bool:
    """Whether it may know of the group; a consumer that may not would ask again until its timeout."""
    admin = AdminClient(kafka.admin(settings.kafka, {"log_level": 0}))
    try:
        admin.describe_consumer_groups([group], request_timeout=WAIT)[group].result()
    except KafkaException as refusal:
        code = refusal.args[0].code()
        assert code in (KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.GROUP_ID_NOT_FOUND), refusal
        return bool(code != KafkaError.GROUP_AUTHORIZATION_FAILED)
    return True


def may_take_id(settings: Settings, transactional_id: str) -> bool:
    producer = Producer(
        kafka.transactional_producer(settings.kafka, transactional_id, 10_000, {"log_level": 0})
    )
    try:
        producer.init_transactions(WAIT)
    except KafkaException as refusal:
        assert refusal.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        return False
    return True
