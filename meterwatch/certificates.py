"""Which certificates downloads trust: the machine's own, so that a company's proxy is trusted where the system does."""

from __future__ import annotations

import os
from pathlib import Path

# Debian, Red Hat, others; in this order.
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
VARIABLE = "REQUESTS_CA_BUNDLE"


def trust_the_system() -> None:
    """Let `requests`, by which jgo and cjdk fetch, read the system's bundle instead of one of its own."""
    found = next((bundle for bundle in BUNDLES if Path(bundle).exists()), None)
    if found is not None:
        os.environ.setdefault(VARIABLE, found)
