"""How a stage runs as a command: its parameters, its data, and one line instead of a traceback."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from meterwatch.detection.errors import DetectionError
from meterwatch.settings import SettingsError
from meterwatch.storage.models import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable


def command(main: Callable[[], None]) -> None:
    """Run a stage; a foreseeable fault is one line on stderr and exit code 1."""
    try:
        main()
    except (DetectionError, RegistryError, SettingsError, OSError) as error:
        print(f"{main.__module__ if main.__module__ != '__main__' else sys.argv[0]}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
