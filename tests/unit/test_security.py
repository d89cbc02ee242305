"""The security file in Java's words: nothing is left out silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meterwatch.settings import Settings
from streaming.errors import StreamError
from streaming.security import java_config

if TYPE_CHECKING:
    from pathlib import Path

SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


def told(directory: Path, *lines: str) -> dict[str, str]:
    file = directory / "security.properties"
    file.write_text("\n".join(["# for both", "", *lines]))
    return java_config(Settings(kafka_security=file))


def test_no_file_says_nothing() -> None:
    assert java_config(Settings()) == {}


@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
def test_a_user_and_a_password_with_what_must_be_escaped(tmp_path: Path, name: str) -> None:
    lines = ["security.protocol=SASL_SSL", f"{name} = SCRAM-SHA-512", "sasl.username=me", 'sasl.password=a"b\\c=d;']
    assert told(tmp_path, *lines) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": f'{SCRAM} required username="me" password="a\\"b\\\\c=d;";',
    }


def test_certificates_and_keys_go_themselves(tmp_path: Path) -> None:
    for name in ("ca", "certificate", "key"):
        (tmp_path / name).write_text(f"-----BEGIN {name}-----\n")
    lines = [f"ssl.{name}.location={tmp_path / name}" for name in ("ca", "certificate", "key")]
    assert told(tmp_path, *lines, "ssl.key.password=p", "ssl.endpoint.identification.algorithm=none") == {
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": "-----BEGIN ca-----\n",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": "-----BEGIN certificate-----\n",
        "ssl.keystore.key": "-----BEGIN key-----\n",
        "ssl.key.password": "p",
        "ssl.endpoint.identification.algorithm": "",
    }


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("enable.ssl.certificate.verification=false", "enable.ssl.certificate.verification has no counterpart"),
        ("ssl.crl.location=x", "ssl.crl.location has no counterpart"),
        ("sasl.mechanisms=GSSAPI", "sasl.mechanisms=GSSAPI cannot be used by Spark; use PLAIN, SCRAM"),
        ("ssl.ca.location=/nowhere/ca.pem", "ssl.ca.location=/nowhere/ca.pem cannot be read: .*No such file"),
        ("ssl.key.pem=-----BEGIN RSA PRIVATE KEY-----", "rewrite it with `openssl pkcs8 -topk8 -nocrypt`"),
    ],
)
def test_what_cannot_be_said_is_named(tmp_path: Path, line: str, fact: str) -> None:
    with pytest.raises(StreamError, match=f"security.properties: .*{fact}"):
        told(tmp_path, line)
