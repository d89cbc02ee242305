"""The stream and a broker that wants TLS and a password of every client."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from meterwatch.settings import Settings
from streaming import broker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.instances import Instance

PASSWORD = 'p"w\\d'  # noqa: S105 - of this test alone
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and a file of it with its key."""
    key, found, both = (directory / name for name in ("key.pem", "ca.pem", "both.pem"))
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        found,
        "-subj",
        "/CN=m",
    ]
    subprocess.run([*words, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    both.write_text(key.read_text() + found.read_text())
    return found, both


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_client_of_ours_shows_what_the_security_file_says(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, both = certificate(tmp_path)
    written = PASSWORD.replace("\\", "\\\\").replace('"', '\\"').replace("\\", "\\\\")  # for JAAS, then for properties
    properties = tmp_path / "broker.properties"
    properties.write_text(
        broker.PROPERTIES.read_text().replace("CLIENT:PLAINTEXT", "CLIENT:SASL_SSL")
        + "sasl.enabled.mechanisms=PLAIN\nsasl.mechanism.inter.broker.protocol=PLAIN\n"
        + f'listener.name.client.plain.sasl.jaas.config={LOGIN} username="m" password="{written}" user_m="{written}";\n'
        + f"ssl.keystore.type=PEM\nssl.keystore.location={both}\n"
        + f"ssl.truststore.type=PEM\nssl.truststore.location={ca}\n"
    )
    monkeypatch.setattr(broker, "PROPERTIES", properties)
    security = tmp_path / "security.properties"
    security.write_text(
        "security.protocol=sasl_ssl\nsasl.mechanisms=PLAIN\nsasl.username=m\n"
        f"sasl.password={PASSWORD}\nssl.ca.location={ca}\n"
    )
    servers = instance.env["METERWATCH_KAFKA_BOOTSTRAP_SERVERS"]
    broker.Broker(Settings(run_dir=instance.dir, kafka_bootstrap_servers=servers, kafka_security=security)).start()
    instance.env["METERWATCH_KAFKA_SECURITY"] = str(security)
    file = tmp_path / "in.txt"
    file.write_bytes(b"".join(b"1/1/2008;00:%02d:00;1;0;240;4;0;0;0\n" % minute for minute in range(60)))
    instance.run("replay", file)
    instance.spawn("serve")
    instance.run("stream", "--once")
    assert instance.stored() == 60
