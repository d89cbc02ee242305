"""Which Java runs the broker and Spark: the machine's own where it is new enough, else one that cjdk fetches."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from meterwatch.certificates import trust_the_system

OLDEST = 17
INSTALL = f"Java {OLDEST} or newer is needed; install it (Debian: apt-get install openjdk-17-jre-headless)"


class JavaError(Exception):
    """There is no Java that would do; the message names the command that installs one."""


def find() -> Path | None:
    """The home of a Java of this machine that is new enough: JAVA_HOME, then the PATH; None where there is none."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    if (on_path := shutil.which("java")) is not None:
        homes.append(Path(on_path).resolve().parents[1])
    return next((home for home in homes if (version(home) or 0) >= OLDEST), None)


def version(home: Path) -> int | None:
    """The major version of the Java in `home`; None where there is none."""
    try:
        told = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(match[1]) if match else None


def find_or_fetch() -> Path:
    """The home of a Java that is new enough.

    Raises:
        JavaError: the machine has none, and none could be fetched.
    """
    if (home := find()) is not None:
        return home
    import cjdk

    trust_the_system()
    print(f"Java: none of version {OLDEST} or newer here, fetching one (once)", flush=True)
    try:
        return cjdk.java_home(vendor="adoptium", version=str(OLDEST))
    except (cjdk.CjdkError, OSError) as error:
        raise JavaError(f"{INSTALL}; none could be fetched ({' '.join(str(error).split())[:120]})") from error
