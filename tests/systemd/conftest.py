"""One Debian for the session, with an FTP server, and archiverd as its owner installs it there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.systemd.debian import Debian, made_root, wheel
from tests.systemd.installed import FILES, Service


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    with Debian(made_root(), tmp_path_factory.mktemp("debian"), FILES) as booted:
        yield booted


@pytest.fixture(scope="session")
def installed(debian: Debian, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """archiverd, installed and running, after somebody typed what installing it told."""
    service = Service(debian)
    service.install(wheel(tmp_path_factory.mktemp("wheel")))
    return service


@pytest.fixture
def service(installed: Service) -> Iterator[Service]:
    """The same, running with the configuration it began with, whatever a test did to it."""
    yield installed
    installed.reset()
