"""Changes of events posted to an address, signed as the Standard Webhooks specification says (docs/integrate.md)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any

import httpx

from meterwatch.settings import PREFIX
from streaming.errors import StreamError, UntoldError
from streaming.event_topic import as_json, told

if TYPE_CHECKING:
    from pathlib import Path

    from meterwatch.settings import Settings

SECONDS = 10.0  # for one try
LONGEST_PAUSE = 3600.0  # seconds that a Retry-After is followed
MARK = "whsec_"  # begins a secret, where somebody likes to see what it is
LEAST, MOST = 24, 64  # bytes of a secret
MAKE = "make one: openssl rand -base64 32"


class Webhook:
    """The address: a POST for the changes of at least two seconds, so that it has thirty a minute at most."""

    most, spacing = 100, 2.0

    def __init__(self, settings: Settings) -> None:
        """Read the secret.

        Raises:
            StreamError: there is none that can be used.
        """
        assert settings.webhook_secret_file is not None  # noqa: S101 - the settings prove it
        self._key = secret(settings.webhook_secret_file)
        self._url = httpx.URL(settings.webhook_url)
        self._http = httpx.Client(timeout=SECONDS)

    def tell(self, changes: list[dict[str, Any]]) -> None:
        """Post them in one delivery, whose id and body are the same at every try.

        Raises:
            UntoldError: the answer is not a success.
        """
        delivery = f"{changes[0]['sequence']}-{changes[-1]['sequence']}"
        body = as_json({"delivery": delivery, "changes": [told(change) for change in changes]})
        where = f"{self._url.scheme}://{self._url.netloc.decode().rpartition('@')[2]}"  # the rest may be a secret
        headers = signed(self._key, delivery, time.time(), body)
        try:
            with self._http.stream("POST", self._url, content=body, headers=headers) as response:
                pass  # the head says it all: what follows may have no end
        except httpx.RequestError as error:
            raise UntoldError(f"{where}: {error or type(error).__name__}") from error
        if not response.is_success:
            pause = response.headers.get("Retry-After", "")
            raise UntoldError(
                f"{where} answers {response.status_code}",
                min(float(pause), LONGEST_PAUSE) if pause.isdecimal() else 0.0,
            )


def signed(key: bytes, delivery: str, now: float, body: bytes) -> dict[str, str]:
    """The headers of a delivery: its id, when it was sent, and the signature of both and the body."""
    sent = str(int(now))
    digest = hmac.digest(key, f"{delivery}.{sent}.".encode() + body, hashlib.sha256)
    signature = f"v1,{base64.b64encode(digest).decode()}"
    kind = {"Content-Type": "application/json", "User-Agent": "meterwatch"}
    return {**kind, "webhook-id": delivery, "webhook-timestamp": sent, "webhook-signature": signature}


def secret(file: Path) -> bytes:
    """The key in a file: base64 of 24 to 64 bytes.

    Raises:
        StreamError: the file cannot be read, or holds none.
    """
    try:
        key = base64.b64decode(file.read_text("ascii").strip().removeprefix(MARK), validate=True)
    except OSError as error:
        raise StreamError(f"{PREFIX}WEBHOOK_SECRET_FILE={file}: {error.strerror}; {MAKE} > {file}") from error
    except (UnicodeDecodeError, binascii.Error):
        key = b""
    if not LEAST <= len(key) <= MOST:
        raise StreamError(f"{PREFIX}WEBHOOK_SECRET_FILE={file} is not base64 of {LEAST} to {MOST} bytes; {MAKE}")
    return key
