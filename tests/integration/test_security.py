"""A Kafka that asks who we are, over TLS, and lets each role do what `marquee acls` says and nothing else."""

import shlex
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import trustme
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from ops.acls import ROLES, Role, commands
from producer.commands import send_command, wait_for_outcome
from producer.profiles import publish_one
from producer.recommendations import OutcomeReader, Result
from schemas import kafka
from schemas.errors import SettingsError
from schemas.release import ReleaseCommand
from schemas.settings import Settings, load_settings
from schemas.topics import Names
from tests.commands import marquee
from tests.integration.secure_kafka import PASSWORD, SecureKafka, secure_kafka
from tests.processes import Process
from worker.store import ReleaseStore
from worker.topics import ensure_topics

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
    with pytest.raises(SettingsError, match=r"refused who we are.*check the MARQUEE_KAFKA__") as refusal:
        ensure_topics(settings, WAIT)
    assert refusal.value.exit_code == 2
    assert "battery-staple" not in str(refusal.value)


def grant(server: SecureKafka, role: Role) -> None:
    """Carry out what `marquee acls` prints, by an AdminClient in place of kafka-acls.sh."""
    bindings = []
    for command in commands(role, Names(PREFIX), f"User:{role}", "--bootstrap-server host:1"):
        words = shlex.split(command)
        kind = next(word for word in words if word in ("--topic", "--group", "--transactional-id"))
        pattern = "PREFIXED" if words[-2:] == ["--resource-pattern-type", "prefixed"] else "LITERAL"
        for option, operation in pairwise(words):
            if option == "--operation":
                bindings.append(
                    AclBinding(
                        ResourceType[kind.removeprefix("--").replace("-", "_").upper()],
                        words[words.index(kind) + 1],
                        ResourcePatternType[pattern],
                        words[words.index("--allow-principal") + 1],
                        "*",
                        AclOperation[_spelled(operation)],
                        AclPermissionType.ALLOW,
                    )
                )
    admin = server.super_user
    for future in admin.create_acls(bindings, request_timeout=WAIT).values():
        future.result()


def _spelled(operation: str) -> str:
    """DescribeConfigs as the enumeration spells it: DESCRIBE_CONFIGS."""
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in operation).strip("_").upper()


@pytest.fixture
def roles(guarded: SecureKafka, lite_settings: Settings, fusion_store: str) -> dict[Role, Settings]:
    """Settings of each role on one deployment; each has its rights, and no other."""

    def settings(role: Role) -> Settings:
        own = load_settings(
            prefix=PREFIX,
            store=fusion_store,
            kafka={**scram(guarded, role), "create_topics": role == "admin"},
            milvus={"uri": lite_settings.milvus.uri},
        )
        grant(guarded, role)
        return own

    return {role: settings(role) for role in ROLES}


@pytest.mark.long
def test_each_role_can_do_its_job_and_nothing_else(roles: dict[Role, Settings], tmp_path: Path) -> None:
    ensure_topics(roles["admin"], WAIT)
    with (
        Process("indexer", roles["indexer"], tmp_path),
        Process("worker", roles["worker"], tmp_path) as worker,
    ):
        command = ReleaseCommand(action="index", release=ReleaseStore(roles["admin"].store).names()[-1])
        send_command(roles["admin"], command, WAIT)
        assert wait_for_outcome(roles["admin"], command, 120).outcome == "done"
        worker.wait_ready()
        with OutcomeReader(roles["reader"], timeout_s=WAIT) as reader:
            good = publish_one(roles["producer"], {"user_id": 1}, timeout_s=WAIT)
            assert isinstance(reader.outcome_of(good.partition, good.offset, WAIT), Result)
            bad = publish_one(roles["producer"], b"{", timeout_s=WAIT)
            assert not isinstance(reader.outcome_of(bad.partition, bad.offset, WAIT), Result)
        for arguments in (["status"], ["dead-letters", "redrive", "--all"], ["topics"]):
            done = marquee(roles["admin"], *arguments)
            assert done.returncode == 0, (arguments, done.stdout, done.stderr)

    names = Names(PREFIX)
    not_to_write: list[tuple[Role, str]] = [
        ("worker", names.profiles),
        ("worker", names.release_commands),
        ("indexer", names.recommendations),
        ("producer", names.recommendations),
        ("reader", names.profiles),
    ]
    for role, topic in not_to_write:
        assert write(roles[role], topic) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    not_to_read: list[tuple[Role, str]] = [
        ("producer", names.profiles),
        ("reader", names.releases),
        ("indexer", names.profiles),
    ]
    for role, topic in not_to_read:
        # Whichever right the broker misses first.
        assert read(roles[role], topic) in {
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.GROUP_AUTHORIZATION_FAILED,
        }
    with pytest.raises(SettingsError, match="refused what a topic needs"):
        allowed_to_create = roles["worker"].kafka.model_copy(update={"create_topics": True})
        ensure_topics(roles["worker"].model_copy(update={"kafka": allowed_to_create}), WAIT)


def write(settings: Settings, topic: str) -> int | None:
    """The error of trying."""
    errors: list[KafkaError | None] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        errors.append(error)

    producer = Producer(kafka.producer(settings.kafka, {"log_level": 0}))
    try:
        producer.produce(topic, b"{}", on_delivery=delivered)
    except KafkaException as error:  # it may not even see the topic
        return int(error.args[0].code())
    producer.flush(WAIT)
    return errors[0].code() if errors and errors[0] else None


def read(settings: Settings, topic: str) -> int | None:
    """The error of trying."""
    consumer = Consumer(kafka.reader(settings.kafka, f"{PREFIX}reader", {"log_level": 0}))
    consumer.assign([TopicPartition(topic, 0, 0)])
    message = consumer.poll(WAIT)
    consumer.close()
    error = message.error() if message else None
    return error.code() if error else None
