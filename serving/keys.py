"""API keys: who may do what. Kept hashed in one file; the key itself is shown once, when it is made.

A key reads `mw_<id>_<secret>`. The file holds scrypt of the secret; since scrypt is slow on purpose, a key that was
right is remembered, by its SHA-256, until the file changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROLES = ("read", "score", "admin")  # each may do what the ones before it may
SESSION_SECONDS = 12 * 3600
REMEMBERED = 1000
LONGEST_NAME = 100
_KEY = re.compile(r"mw_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_COST = {"n": 2**14, "r": 8, "p": 1}


class KeysError(Exception):
    """The key file cannot be used; the message names the next step."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Whether this caller may do what needs `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Keys:
    """The keys of a file, read again when it changes.

    Logins are signed with a secret of this object that is nowhere written down, so that who reads the file makes none.
    Given up: they end with the process, and another one beside it does not know them.

    Raises:
        KeysError: there is no such file, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._secret = secrets.token_bytes(32)
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, dict[str, Any]] = {}
        self._right: dict[bytes, Caller] = {}
        self._read()

    def _read(self) -> None:
        try:
            found = self._path.stat()
        except OSError as error:
            raise KeysError(f"the key file {self._path} cannot be read; `meterwatch keys add` makes it") from error
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._stamp:
            self._keys = {key["id"]: key for key in load(self._path)}
            self._right.clear()
            self._stamp = stamp

    def remembered(self, text: str) -> Caller | None:
        """The caller of a key that was right before; None says nothing yet. Fast."""
        self._read()
        return self._right.get(hashlib.sha256(text.encode()).digest())

    def caller(self, text: str) -> Caller | None:
        """The caller of a key; None where it is wrong. Takes some 50 ms of work."""
        self._read()
        match, keys = _KEY.fullmatch(text), self._keys
        key = keys.get(match[1]) if match else None
        if match is None or key is None:
            return None
        if not hmac.compare_digest(_hash(match[2], key["salt"]), bytes.fromhex(key["hash"])):
            return None
        caller = Caller(key["name"], key["role"])
        if len(self._right) >= REMEMBERED:
            self._right.clear()
        if keys is self._keys:  # else the file has changed meanwhile, and the key may be gone
            self._right[hashlib.sha256(text.encode()).digest()] = caller
        return caller

    def session(self, text: str) -> str:
        """A cookie's value for a key that is right; it ends after half a day, with this object, or with the key."""
        number, until = text.split("_")[1], int(time.time()) + SESSION_SECONDS
        return f"{number}.{until}.{self._sign(number, until)}"

    def of_session(self, cookie: str) -> Caller | None:
        """The caller of a cookie; None where it is wrong or over."""
        self._read()
        match = re.fullmatch(r"([0-9a-f]{8})\.([0-9]{1,12})\.([0-9a-f]{64})", cookie)
        if match is None or match[1] not in self._keys or int(match[2]) < time.time():
            return None
        if not hmac.compare_digest(self._sign(match[1], int(match[2])), match[3]):
            return None
        key = self._keys[match[1]]
        return Caller(key["name"], key["role"])

    def _sign(self, number: str, until: int) -> str:
        signed = f"{number}.{until}.{self._keys[number]['hash']}"  # with the hash: a number may come back
        return hmac.new(self._secret, signed.encode(), hashlib.sha256).hexdigest()


def _hash(secret: str, salt: str) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=bytes.fromhex(salt), **_COST)


def load(path: Path) -> list[dict[str, Any]]:
    """The keys of a file: id, name, role, salt, hash, created_at. An absent file has none.

    Raises:
        KeysError: damaged.
    """
    if not path.exists():
        return []
    try:
        keys: list[dict[str, Any]] = orjson.loads(path.read_bytes())["keys"]
        for key in keys:
            if key["role"] not in ROLES or not {"id", "name", "salt", "hash"} <= set(key):
                raise KeysError(f"the key file {path} names an unknown role or lacks a field; make it anew")
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise KeysError(
            f"the key file {path} is damaged; restore it, or make it anew with `meterwatch keys add`"
        ) from error
    return keys


def add(path: Path, name: str, role: str) -> str:
    """Make a key and answer it: it cannot be shown again.

    Raises:
        KeysError: an unknown role, an unusable name, or a damaged file.
    """
    if role not in ROLES:
        raise KeysError(f"there is no role {role!r}; choose one of {', '.join(ROLES)}")
    if not (name.isprintable() and 0 < len(name) <= LONGEST_NAME):
        raise KeysError(f"a key's name has 1 to {LONGEST_NAME} printable characters")
    number, secret, salt = secrets.token_hex(4), secrets.token_urlsafe(32), secrets.token_hex(16)
    key = {"id": number, "name": name, "role": role, "salt": salt, "hash": _hash(secret, salt).hex()}
    with _alone(path):
        _write(path, [*load(path), {**key, "created_at": int(time.time())}])
    return f"mw_{number}_{secret}"


def revoke(path: Path, number: str) -> bool:
    """Take a key away by its id; False where there is none."""
    with _alone(path):
        keys = load(path)
        left = [key for key in keys if key["id"] != number]
        if len(left) < len(keys):
            _write(path, left)
    return len(left) < len(keys)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One change of the file at a time, or two that come together would lose one of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, keys: list[dict[str, Any]]) -> None:
    """Put the new file in the place of the old one, readable by its owner alone."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(orjson.dumps({"keys": keys}, option=orjson.OPT_INDENT_2))
    new.replace(path)
