"""Variables, secret files and marquee.toml: each value is taken as it is meant, or refused by its variable's name."""

import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.cli import build_app
from ops.deployment.settings import log_unread_variables, unknown_variables
from schemas.errors import SettingsError
from schemas.settings import Settings, load_settings
from schemas.variables import settings_of, variable

# What Kubernetes gives each container of a namespace with services marquee, marquee-http, marquee-milvus and marquee-worker.
SERVICE_LINKS = {
    "MARQUEE_PORT": "tcp://10.0.0.1:9464",
    "MARQUEE_SERVICE_HOST": "10.0.0.1",
    "MARQUEE_HTTP_PORT": "tcp://10.0.0.2:9464",
    "MARQUEE_HTTP_SERVICE_PORT_METRICS": "9464",
    "MARQUEE_MILVUS_SERVICE_HOST": "10.0.0.3",
    "MARQUEE_MILVUS_PORT_19530_TCP_ADDR": "10.0.0.3",
    "MARQUEE_WORKER_PORT": "tcp://10.0.0.4:9464",
    "MARQUEE_KAFKA": "tcp://10.0.0.5:9092",
}


def refused(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert refusal.value.exit_code == 2
    return str(refusal.value)


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("MARQUEE_WORKER_DELIVERY", "MARQUEE_WORKER__DELIVERY"),
        ("MARQUEE_KAFKA_BOOTSTRAP_SERVERS", "MARQUEE_KAFKA__BOOTSTRAP_SERVERS"),
        ("MARQUEE_MILVUS_URI", "MARQUEE_MILVUS__URI"),
        ("marquee_worker_delivery", "MARQUEE_WORKER__DELIVERY"),
        ("MARQUEE__PREFIX", "MARQUEE_PREFIX"),
        ("MARQUEE_WORKER__BATCH__EVENTS", "MARQUEE_WORKER__BATCH_EVENTS"),
        ("MARQUEE_WORKER___ID", "MARQUEE_WORKER__ID"),
    ],
)
@pytest.mark.parametrize("role", ["worker", "indexer", "outcomes-worker", "recommend"])
def test_a_setting_with_wrong_underscores_ends_the_process(said: str, right: str, role: str) -> None:
    done = CliRunner().invoke(build_app(), [role], env={said: "tcp://b:1" if said.endswith("URI") else "x"})
    assert isinstance(done.exception, SettingsError) and done.exception.exit_code == 2
    assert f"{said} is no setting: write {right}" in str(done.exception)


def test_no_two_settings_differ_in_underscores_alone() -> None:
    paths = list(settings_of(Settings.model_fields))
    assert len({variable(path).replace("_", "") for path in paths}) == len(paths)


def test_service_links_of_kubernetes_end_nothing_and_are_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in (SERVICE_LINKS | {"MARQUEE_KAFAK__CLIENT": "{}", "MARQUEE_COLOUR": "red"}).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == Settings()
    assert unknown_variables() == ["MARQUEE_COLOUR", "MARQUEE_KAFAK__CLIENT"]

    caplog.set_level(logging.INFO)
    log_unread_variables()
    unread, links = caplog.messages
    assert all(links.count(f" {name}") >= 1 for name in SERVICE_LINKS)
    assert unread.endswith("MARQUEE_COLOUR, MARQUEE_KAFAK__CLIENT")


def test_one_setting_in_two_spellings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refused(monkeypatch, MARQUEE_PREFIX="a.", marquee_prefix="b.")
    assert "MARQUEE_PREFIX and marquee_prefix" in said
    monkeypatch.setenv("marquee_prefix", "a.")
    assert load_settings().prefix == "a."


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MARQUEE_KAFKA__CLIENT", "debug=all"),
        ("MARQUEE_KAFKA__CLIENT", "[1]"),
        ("MARQUEE_KAFKA__CLIENT", ""),
        ("MARQUEE_KAFKA__CLIENT", '{"debug": [1]}'),
        ("MARQUEE_KAFKA", "hunter2"),
        ("MARQUEE_KAFKA", ""),
        ("MARQUEE_KAFKA__BOGUS", "x"),
        ("MARQUEE_PREFIX", ""),
        ("MARQUEE_PREFIX", "a b"),
        ("MARQUEE_PREFIX", "a" * 101),
        ("MARQUEE_STORE", ""),
        ("MARQUEE_MILVUS__URI", ""),
        ("MARQUEE_HTTP__HOST", ""),
        ("MARQUEE_MILVUS__EXACT_AFTER_S", "soon"),
        ("MARQUEE_MILVUS__EXACT_AFTER_S", "nan"),
        ("MARQUEE_MILVUS__TIMEOUT_S", "inf"),
        ("MARQUEE_MILVUS__TIMEOUT_S", "1e300"),
        ("MARQUEE_KAFKA__DELIVERY_TIMEOUT_S", "nan"),
        ("MARQUEE_KAFKA__PARTITIONS", "1e99"),
        ("MARQUEE_KAFKA__CREATE_TOPICS", "perhaps"),
        ("MARQUEE_WORKER__STOP_TIMEOUT_S", "inf"),
        ("MARQUEE_LOG__LEVEL", "loud"),
        ("MARQUEE_WORKER__ID", "a/b"),
    ],
)
def test_a_wrong_value_is_refused_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    said = refused(monkeypatch, **{variable: value})
    assert variable in said
    assert f"{variable}__" not in said
    assert "hunter2" not in said


def test_sasl_without_a_mechanism_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refused(monkeypatch, MARQUEE_KAFKA__SECURITY_PROTOCOL="sasl_ssl")
    assert "MARQUEE_KAFKA__SASL_MECHANISM" in said
    said = refused(monkeypatch, MARQUEE_KAFKA__SASL_MECHANISM="plain", MARQUEE_KAFKA__SASL_USERNAME="")
    assert "MARQUEE_KAFKA__SASL_USERNAME" in said


def test_empty_optional_settings_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["MILVUS__TOKEN", "WORKER__ID", "KAFKA__SASL_MECHANISM", "KAFKA__SSL_CA_LOCATION"]
    for name in [*names, "HTTP__TOKEN", "REGISTRY__URL"]:
        monkeypatch.setenv(f"MARQUEE_{name}", "")
    assert load_settings() == Settings.model_construct()


def test_choices_are_taken_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_LOG__LEVEL", "debug")
    monkeypatch.setenv("MARQUEE_MILVUS__EXACT_AFTER_S", "Never")
    monkeypatch.setenv("MARQUEE_KAFKA__SECURITY_PROTOCOL", "ssl")
    monkeypatch.setenv("MARQUEE_WORKER__DELIVERY", "Exactly-Once")
    monkeypatch.setenv("MARQUEE_KAFKA__CREATE_TOPICS", "No")
    settings = load_settings(indexer={"index": "hnsw"})
    assert settings.log.level == "DEBUG"
    assert settings.milvus.exact_after_s == "never"
    assert settings.kafka.security_protocol == "SSL"
    assert settings.worker.delivery == "exactly-once"
    assert settings.kafka.create_topics is False
    assert settings.indexer.index == "HNSW"


def test_at_least_once_ends_the_process_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_WORKER__DELIVERY", "At-Least-Once")
    with pytest.raises(SettingsError, match=r"MARQUEE_WORKER__DELIVERY.*published exactly once") as refusal:
        load_settings()
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("prefix", [".", "..", "-", "_", "9", "a" * 100])
def test_names_of_every_prefix_are_legal_in_kafka(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("MARQUEE_PREFIX", prefix)
    names = load_settings().names
    assert all(len(topic) <= 249 and topic not in (".", "..") for topic in names.topics)


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv("MARQUEE_SECRETS_DIR", str(folder))
    return folder


def test_only_secret_files_named_like_settings_are_opened(secrets: Path) -> None:
    (secrets / "..data").mkdir()
    (secrets / "..data" / "marquee_milvus__token").write_text("root:milvus\n")
    (secrets / "marquee_milvus__token").symlink_to("..data/marquee_milvus__token")
    (secrets / "marquee_kafka__client").write_text('{"queued.min.messages": 7}\n')
    for name in ("keystore.p12", "marquee_keystore.p12", "marquee_kafka__keystore.p12"):
        (secrets / name).write_bytes(b"\xff\xfe\x00")
    with (secrets / "core").open("wb") as large:
        large.truncate(2**25)

    settings = load_settings()

    assert settings.milvus.token and settings.milvus.token.get_secret_value() == "root:milvus"
    assert settings.kafka.client == {"queued.min.messages": 7}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("marquee_milvus__token", b"\xff\xfe"),
        ("marquee_milvus_token", b"root:milvus"),
        ("marquee_milvus__tokn", b"root:milvus"),
        ("marquee_kafka__client", b"hunter2"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_named(
    secrets: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    (secrets / name).write_bytes(content)
    said = refused(monkeypatch)
    assert f"{secrets}/{name}" in said
    assert "hunter2" not in said and "root:" not in said


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"[kafak]\nx = 1\n", "MARQUEE_KAFAK"),
        (b"[kafka]\nbootstrap = 'x'\n", "kafka.bootstrap (MARQUEE_KAFKA__BOOTSTRAP)"),
        (b"kafka = 3\n", "MARQUEE_KAFKA"),
        (b"[kafka\n", "marquee.toml"),
        (b"prefix = '\xff'\n", "marquee.toml"),
    ],
)
def test_a_typing_error_in_the_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, named: str
) -> None:
    (tmp_path / "marquee.toml").write_bytes(content)
    assert named in refused(monkeypatch, MARQUEE_CONFIG=str(tmp_path / "marquee.toml"))
