"""Apache Kafka with TLS, SCRAM, OAUTHBEARER, client certificates and an authorizer, and a token server beside it.

Three listeners: PLAINTEXT on loopback is the cluster's own and the super user's; SASL_SSL and SSL are what is tested.
"""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import trustme
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ops.local.kafka import LocalKafka
from ops.local.ports import HOST, free_port

ISSUER, AUDIENCE, KEY_ID = "https://tokens.test", "kafka", "1"
PASSWORD = "correct-horse"


@dataclass(frozen=True)
class SecureKafka:
    """Where its listeners are, and what a client needs to be let in."""

    server: LocalKafka
    sasl_ssl: str
    ssl: str
    ca: Path
    folder: Path
    authority: trustme.CA
    token_url: str

    def certificate(self, name: str, authority: trustme.CA | None = None) -> tuple[Path, Path]:
        """PEM files of a client's certificate and key, signed by `authority` (ours if none is named)."""
        issued = (authority or self.authority).issue_cert(f"{name}.test", common_name=name)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key

    def add_user(self, name: str) -> None:
        """A SCRAM-SHA-512 credential with `PASSWORD`."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096)
        change = UserScramCredentialUpsertion(name, info, PASSWORD.encode())
        admin = self.super_user  # kept: its end would end the call
        for future in admin.alter_user_scram_credentials([change]).values():
            future.result()

    @property
    def super_user(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.server.bootstrap_servers, "log_level": 0})


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """Start it all in a folder."""
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    server = LocalKafka(folder / "kafka")
    ports = {"SASL_SSL": free_port(), "SSL": free_port()}
    signer = rsa.generate_private_key(65_537, 2_048)
    keys = folder / "jwks.json"
    keys.write_text(json.dumps({"keys": [_public_key(signer)]}))
    server.properties.update(_properties(server, folder, ports, authority, keys))
    with _token_server(signer) as token_url:
        try:
            server.start()
            yield SecureKafka(
                server,
                f"{HOST}:{ports['SASL_SSL']}",
                f"{HOST}:{ports['SSL']}",
                folder / "ca.pem",
                folder,
                authority,
                token_url,
            )
        finally:
            server.stop()


def _properties(
    server: LocalKafka, folder: Path, ports: dict[str, int], authority: trustme.CA, keys: Path
) -> dict[str, str]:
    node = server.nodes[0]
    own = f"PLAINTEXT://{node.address}"
    secure = ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items())
    login = "org.apache.kafka.common.security"
    sasl = "listener.name.sasl_ssl"
    return {
        "listeners": f"{own},{secure},CONTROLLER://{node.controller_address}",
        "advertised.listeners": f"{own},{secure},CONTROLLER://{node.controller_address}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(_keystore(folder, authority)),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "listener.name.ssl.ssl.client.auth": "required",
        "listener.name.ssl.ssl.principal.mapping.rules": r"RULE:^CN=([^,]+),.*$/$1/,DEFAULT".replace(
            "\\", "\\\\"
        ),
        f"{sasl}.sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
        f"{sasl}.scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
        f"{sasl}.oauthbearer.sasl.jaas.config": f"{login}.oauthbearer.OAuthBearerLoginModule required;",
        f"{sasl}.oauthbearer.sasl.server.callback.handler.class": f"{login}.oauthbearer.OAuthBearerValidatorCallbackHandler",
        "sasl.oauthbearer.jwks.endpoint.url": keys.as_uri(),
        "sasl.oauthbearer.expected.audience": AUDIENCE,
        "sasl.oauthbearer.expected.issuer": ISSUER,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
        # Nobody kills this one: let a busy machine have its pauses.
        "broker.session.timeout.ms": "18000",
    }


def _keystore(folder: Path, authority: trustme.CA) -> Path:
    """The broker's certificate and key in one PEM file; Kafka reads keys in PKCS 8 alone."""
    issued = authority.issue_cert(HOST, key_type=trustme.KeyType.RSA)
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    file = folder / "broker.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    )
    return file


def _public_key(key: rsa.RSAPrivateKey) -> dict[str, str]:
    """As RFC 7517 writes it."""
    numbers = key.public_key().public_numbers()
    return {
        "kty": "RSA",
        "kid": KEY_ID,
        "alg": "RS256",
        "use": "sig",
        **{
            name: _base64(number.to_bytes((number.bit_length() + 7) // 8, "big"))
            for name, number in (("n", numbers.n), ("e", numbers.e))
        },
    }


def _token(key: rsa.RSAPrivateKey, subject: str) -> str:
    """A JSON Web Token (RFC 7519) for an hour."""
    now = int(time.time())
    head = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
    claims = {
        "sub": subject,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 3_600,
        "scope": "kafka",
    }
    signed = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_base64(signature)}"


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


@contextmanager
def _token_server(key: rsa.RSAPrivateKey) -> Iterator[str]:
    """OAuth 2 client credentials: the client's id becomes the subject, its secret must be `PASSWORD`."""

    class Tokens(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            basic = self.headers["Authorization"].removeprefix("Basic ")
            client, _, secret = base64.b64decode(basic).decode().partition(":")
            answer: dict[str, object] = {"error": "invalid_client"}
            if secret == PASSWORD:
                answer = {"access_token": _token(key, client), "token_type": "Bearer", "expires_in": 3_600}
            body = json.dumps(answer).encode()
            self.send_response(200 if secret == PASSWORD else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it
            """Tests have no use for it."""

    server = HTTPServer((HOST, 0), Tokens)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()
