"""`marquee config` shows the settings in force with their sources, and no secret."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.cli import build_app
from schemas.settings import load_settings


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file, a folder of secrets as Kubernetes mounts it, and variables, each overriding the one before."""
    secrets = tmp_path / "secrets"
    (secrets / "..data").mkdir(parents=True)
    (secrets / "..data" / "marquee_kafka__sasl_password").write_text("from-a-secret\n")
    (secrets / "marquee_kafka__sasl_password").symlink_to("..data/marquee_kafka__sasl_password")
    file = tmp_path / "marquee.toml"
    file.write_text(
        'store = "s3://key:from-the-url@bucket"\n'
        '[kafka]\nsasl_password = "from-the-file"\nsasl_username = "me"\n'
        'client = {"sasl.oauthbearer.client.secret" = "from-the-options", "queued.min.messages" = 7}\n'
    )
    monkeypatch.setenv("MARQUEE_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("MARQUEE_CONFIG", str(file))
    monkeypatch.setenv("MARQUEE_MILVUS__TOKEN", "from-the-variable")
    monkeypatch.setenv("MARQUEE_INDEXER", '{"probes": 9}')
    return tmp_path


def shown(*options: str) -> tuple[dict[str, dict[str, object]], str]:
    done = CliRunner().invoke(build_app(), ["config", "--json", *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), done.stdout


def test_config_names_the_source_of_each_setting(sources: Path) -> None:
    settings, _ = shown()
    assert {name: setting["origin"] for name, setting in shown("--changed")[0].items()} == {
        "MARQUEE_STORE": "file",
        "MARQUEE_KAFKA__SASL_USERNAME": "file",
        "MARQUEE_KAFKA__SASL_PASSWORD": "secret",
        "MARQUEE_KAFKA__CLIENT": "file",
        "MARQUEE_MILVUS__TOKEN": "variable",
        "MARQUEE_INDEXER__PROBES": "variable",
    }
    assert settings["MARQUEE_INDEXER__PROBES"]["value"] == 9
    assert settings["MARQUEE_WORKER__BATCH_EVENTS"] == {"value": 1024, "origin": "default"}


def test_no_secret_is_shown(sources: Path) -> None:
    text = shown()[1] + CliRunner().invoke(build_app(), ["config"], env={"COLUMNS": "300"}).output
    assert "from-" not in text
    assert '"queued.min.messages": 7' in text


def test_a_secret_file_wins_over_the_toml_file(sources: Path) -> None:
    password = load_settings().kafka.sasl_password
    assert password and password.get_secret_value() == "from-a-secret"
