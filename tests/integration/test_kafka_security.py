"""A broker that asks who is there: TLS with SCRAM, and TLS with certificates of both sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it does not say that it hands these on
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from testbed.kafka import Cluster, Lines, Node, free_ports

from frazil.errors import ConfigError, Unavailable
from frazil.project import Project
from tests.conftest import started_or_skipped
from tests.serving import TOML, land_orders, make_project

USER, PASSWORD, KEY_PASSWORD = "frazil", "a-password-that-nobody-prints", "a-key-of-its-own"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@dataclass(frozen=True)
class Authority:
    """A certificate authority for one test run."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def made(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(_certificate("an authority", key, "an authority", key, authority=True), key)

    def issue(self, name: str, password: str | None = None) -> tuple[bytes, bytes]:
        """A key and a certificate for 127.0.0.1, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            lock = serialization.BestAvailableEncryption(password.encode())
        certificate = _certificate(name, key, "an authority", self.key, authority=False)
        return (
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock),
            certificate.public_bytes(serialization.Encoding.PEM),
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signing: ec.EllipticCurvePrivateKey, *, authority: bool
) -> x509.Certificate:
    now = datetime.now(UTC)
    named, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer))
    built = x509.CertificateBuilder().subject_name(named).issuer_name(by).public_key(key.public_key())
    built = (
        built.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    built = built.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    if not authority:
        built = built.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    return built.sign(signing, hashes.SHA256())


@dataclass(frozen=True)
class Guarded:
    """A broker with a listener for passwords and one for certificates; `files` are what a client may hold."""

    passwords: str
    certificates: str
    files: Path

    def project(self, root: Path, address: str, kafka: str) -> Project:
        """A project with the client's files in `certs/`."""
        toml = TOML.replace("[log]\n", f'[log]\nurl = "kafka://{address}"\n')
        made = make_project(root, toml=toml + f'[kafka]\ntopic_prefix = "{uuid4()}."\ndelivery_timeout = "10 s"\n{kafka}')
        (root / "certs").symlink_to(self.files)
        return Project.at(made)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    here, authority = tmp_path_factory.mktemp("guarded"), Authority.made()
    passwords, certificates = free_ports(2)
    files = here / "client"
    files.mkdir()
    (here / "server.pem").write_bytes(b"".join(authority.issue("a broker")))
    key, certificate = authority.issue("a client", KEY_PASSWORD)
    for name, text in {
        "ca.pem": authority.pem, "other-ca.pem": Authority.made().pem, "client.key": key, "client.pem": certificate,
    }.items():  # fmt: skip
        (files / name).write_bytes(text)

    def amend(_: Node, lines: Lines) -> None:
        for which in ("listeners", "advertised.listeners"):
            lines[which] = f"{lines[which]},PASSWORDS://127.0.0.1:{passwords},CERTIFICATES://127.0.0.1:{certificates}"
        lines["listener.security.protocol.map"] = f"{lines['listener.security.protocol.map']},PASSWORDS:SASL_SSL,CERTIFICATES:SSL"
        for listener in ("passwords", "certificates"):
            lines[f"listener.name.{listener}.ssl.keystore.type"] = "PEM"
            lines[f"listener.name.{listener}.ssl.keystore.location"] = here / "server.pem"
        lines["listener.name.passwords.sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
        lines["listener.name.passwords.scram-sha-512.sasl.jaas.config"] = SCRAM
        lines["listener.name.certificates.ssl.client.auth"] = "required"
        lines["listener.name.certificates.ssl.truststore.type"] = "PEM"
        lines["listener.name.certificates.ssl.truststore.location"] = files / "ca.pem"

    with started_or_skipped(lambda: Cluster(here / "cluster", amend=amend), "Kafka with TLS and SCRAM") as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.address})
        scram = UserScramCredentialUpsertion(USER, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode())
        for done in admin.alter_user_scram_credentials([scram]).values():
            done.result(20)
        yield Guarded(f"127.0.0.1:{passwords}", f"127.0.0.1:{certificates}", files)


BY_PASSWORD = f'security_protocol = "SASL_SSL"\nsasl_mechanism = "SCRAM-SHA-512"\nsasl_username = "{USER}"\n'


def test_events_land_over_tls_with_a_password(guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAZIL_KAFKA__SASL_PASSWORD", PASSWORD)
    project = guarded.project(tmp_path / "p", guarded.passwords, BY_PASSWORD + 'ssl_ca_location = "certs/ca.pem"\n')
    land_orders(project, 1, 2, 3)
    assert project.lake.raw(project.contract("orders")).scan().to_arrow().num_rows == 3
    assert PASSWORD not in repr(project.settings)


def test_events_land_over_tls_with_a_certificate_and_a_locked_key(
    guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAZIL_KAFKA__SSL_KEY_PASSWORD", KEY_PASSWORD)
    files = 'ssl_ca_location = "certs/ca.pem"\nssl_certificate_location = "certs/client.pem"\nssl_key_location = "certs/client.key"\n'
    project = guarded.project(tmp_path / "p", guarded.certificates, f'security_protocol = "SSL"\n{files}')
    land_orders(project, 1, 2)
    assert project.lake.raw(project.contract("orders")).scan().to_arrow().num_rows == 2


def test_a_wrong_password_is_refused_at_once_and_not_printed(guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAZIL_KAFKA__SASL_PASSWORD", "another-password")
    project = guarded.project(tmp_path / "p", guarded.passwords, BY_PASSWORD + 'ssl_ca_location = "certs/ca.pem"\n')
    with pytest.raises(ConfigError) as refused:
        land_orders(project, 1)
    assert refused.value.code == "log.refused"
    assert "another-password" not in str(refused.value)


def test_a_broker_of_an_unknown_authority_is_not_spoken_to(guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAZIL_KAFKA__SASL_PASSWORD", PASSWORD)
    project = guarded.project(tmp_path / "p", guarded.passwords, BY_PASSWORD + 'ssl_ca_location = "certs/other-ca.pem"\n')
    with pytest.raises(Unavailable, match="certificate verify failed") as refused:
        land_orders(project, 1)
    assert refused.value.code == "log.unavailable"
