"""What every test stands on: no setting of this machine reaches it, and nothing it writes leaves its own folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# No deadline: on a machine that runs other tests beside it, a slow example says nothing. No database: it would lie in
# the tree, and what fails belongs into a test of its own.
hypothesis.settings.register_profile("kmq", deadline=None, database=None)
hypothesis.settings.load_profile("kmq")

# All traffic of the tests stays on this machine, past any proxy; and they speak with servers of their own making.
_FOREIGN = frozenset(
    {
        "ALL_PROXY",
        "CREDENTIALS_DIRECTORY",
        "CURL_CA_BUNDLE",
        "FORCE_COLOR",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "JOURNAL_STREAM",
        "NO_COLOR",
        "NO_PROXY",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
    }
)


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clear this machine's settings, point every default spool into the test's folder, and fix the umask."""
    for name in list(os.environ):
        if name.startswith("KMQ_") or name.upper() in _FOREIGN:
            monkeypatch.delenv(name)
    monkeypatch.setenv("KMQ_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    umask = os.umask(0o022)
    yield
    os.umask(umask)
