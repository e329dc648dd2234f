"""A Milvus Standalone that asks for a password over TLS, and for a client's certificate."""

from collections.abc import Iterator
from contextlib import closing

import pytest
import trustme
import yaml
from pydantic import SecretStr
from pymilvus import MilvusException

from ops.local.milvus import MilvusStandalone
from ops.local.milvus_standalone import is_healthy
from ops.local.ports import HOST
from ops.local.process import ChildProcess
from schemas.errors import SettingsError
from schemas.settings import MilvusSettings
from tests.testbed.processes import wait_for
from worker.errors import MilvusError
from worker.retrieval.milvus import Milvus
from worker.retrieval.milvus_client import connect

pytestmark = pytest.mark.timeout(600)
TOKEN = "root:Milvus"  # the one that a new server has


class SecureMilvus(MilvusStandalone):
    """Authorization, and mutual TLS by certificates of the folder."""

    def _process(self) -> ChildProcess:
        process = super()._process()
        file = self.directory / "configs" / "milvus.yaml"
        config = yaml.safe_load(file.read_text())
        config.setdefault("common", {})["security"] = {"authorizationEnabled": True, "tlsMode": 2}
        config["tls"] = {
            "serverPemPath": str(self.directory / "server.pem"),
            "serverKeyPath": str(self.directory / "server.key"),
            "caPemPath": str(self.directory / "ca.pem"),
        }
        file.write_text(yaml.safe_dump(config))
        return process

    def answers(self) -> bool:
        return is_healthy(self.ports["metrics_port"])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusSettings]:
    """How the server lets somebody in."""
    folder = tmp_path_factory.mktemp("secure-milvus")
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in ("server", "client"):
        issued = authority.issue_cert(HOST, "localhost", key_type=trustme.KeyType.RSA)
        issued.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
        issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
    with SecureMilvus(folder) as server:
        yield MilvusSettings(
            uri=f"https://{HOST}:{server.port}",
            token=TOKEN,
            tls_ca_location=folder / "ca.pem",
            tls_certificate_location=folder / "client.pem",
            tls_key_location=folder / "client.key",
        )


def collections(settings: MilvusSettings) -> list[str]:
    with closing(Milvus(settings)) as server:
        return server.list("")


def test_password_and_certificate_let_in(guarded: MilvusSettings) -> None:
    def let_in() -> bool:
        try:
            return collections(guarded) == []
        except MilvusError:  # healthy a moment before it answers
            return False

    wait_for("an answer", let_in)


def test_a_wrong_password_is_said_in_a_sentence(guarded: MilvusSettings) -> None:
    wrong = guarded.model_copy(update={"token": None})
    with pytest.raises(SettingsError, match="refused the token"):
        collections(wrong)


def test_without_a_certificate_nothing_is_answered(guarded: MilvusSettings) -> None:
    alone = guarded.model_copy(update={"tls_certificate_location": None, "timeout_s": 3.0})
    with pytest.raises(MilvusError):
        collections(alone)
    with pytest.raises(MilvusException):
        connect(MilvusSettings(uri=guarded.uri.replace("https", "http"), token=TOKEN, timeout_s=3.0))


def test_a_password_that_changes_while_we_are_connected_is_said_in_a_sentence(
    guarded: MilvusSettings,
) -> None:
    """Given a connection that was let in, and a user whose password is another from then on."""
    admin = connect(guarded)
    admin.create_user("worker", "Milvus-1")
    with closing(Milvus(guarded.model_copy(update={"token": SecretStr("worker:Milvus-1")}))) as server:
        assert server.list("") == []
        admin.update_password("worker", "Milvus-1", "Milvus-2")

        def refused() -> bool:
            try:
                server.list("")
            except SettingsError as error:
                return "refused the token" in str(error)
            return False

        wait_for("the refusal", refused)
    admin.drop_user("worker")
    admin.close()
