"""The security file once more, for Java: what librdkafka calls by one name, Spark's Kafka source knows by another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meterwatch.kafka import secure
from streaming.errors import StreamError

if TYPE_CHECKING:
    from meterwatch.settings import Settings

MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}
SAME = ("security.protocol", "ssl.key.password", "ssl.keystore.password", "ssl.cipher.suites")
# Certificates and keys themselves and not where they lie, which another machine of a cluster would not know.
PEM = {"ssl.ca": "ssl.truststore.certificates", "ssl.certificate": "ssl.keystore.certificate.chain",
       "ssl.key": "ssl.keystore.key"}  # fmt: skip
OLD_KEY = "BEGIN RSA PRIVATE KEY"


def java_config(settings: Settings) -> dict[str, str]:
    """Properties of Java's Kafka clients that say what the security file says.

    Raises:
        StreamError: a property has no counterpart, or names a file that cannot be read.
    """
    told = secure(settings)
    where = str(settings.kafka_security)
    found: dict[str, str] = {}
    mechanism = told.pop("sasl.mechanisms", told.pop("sasl.mechanism", None))
    user, password = told.pop("sasl.username", ""), told.pop("sasl.password", "")
    if mechanism is not None:
        if mechanism not in MODULES:
            raise StreamError(f"{where}: sasl.mechanisms={mechanism} cannot be used by Spark; use {', '.join(MODULES)}")
        login = f"{MODULES[mechanism]} required username={_quoted(user)} password={_quoted(password)};"
        found |= {"sasl.mechanism": mechanism, "sasl.jaas.config": login}
    for name, value in told.items():
        part, _, form = name.rpartition(".")
        if name in SAME:
            found[name] = value
        elif name == "ssl.endpoint.identification.algorithm":
            found[name] = "" if value == "none" else value
        elif name == "ssl.keystore.location":
            found |= {name: value, "ssl.keystore.type": "PKCS12"}
        elif part in PEM and form in ("location", "pem"):
            text = _read(where, name, value) if form == "location" else value.replace("\\n", "\n")
            if OLD_KEY in text:
                raise StreamError(f"{where}: {name} is a key in a form that Java does not read; "
                                  "rewrite it with `openssl pkcs8 -topk8 -nocrypt`")  # fmt: skip
            store = PEM[part].split(".")[1]
            found |= {PEM[part]: text, f"ssl.{store}.type": "PEM"}
        else:
            raise StreamError(f"{where}: {name} has no counterpart in Spark's Kafka source; leave it out")
    return found


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _read(where: str, name: str, file: str) -> str:
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise StreamError(f"{where}: {name}={file} cannot be read: {error}") from error
