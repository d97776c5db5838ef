"""archiverd in a Debian that runs: installed as its owner does it, fed by a real FTP server."""

from __future__ import annotations

import itertools
import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from tests.program import Ran
from tests.systemd.debian import SCRIPTS, Debian
from tools import footage

ARCHIVERD = f"{SCRIPTS}/archiverd"
CAMERA_USER = "camera"
INPUT = "/srv/ftp/cameras"
CONFIG = "/etc/archiverd/archiverd.toml"
DROP_IN = "/etc/systemd/system/archiverd.service.d/90-test.conf"

SHORT = footage.Clip("short", seconds=0.6)
LONG = footage.Clip("long", seconds=8, noise=30)  # some minutes of work for x265 at its slowest

_UPLOAD = """
import ftplib, pathlib, sys
path, name = sys.argv[1:]
ftp = ftplib.FTP("127.0.0.1", timeout=30)
ftp.login("camera", "secret")
*folders, file = pathlib.PurePosixPath(name).parts
for folder in folders:
    if folder not in ftp.nlst():
        ftp.mkd(folder)
    ftp.cwd(folder)
with open(path, "rb") as clip:
    ftp.storbinary(f"STOR {file}", clip)
ftp.quit()
"""

FILES = {
    # What the FTP server keeps is on a disk of its own.
    "/disk/.keep": "",
    "/srv/ftp/.keep": "",
    "/etc/fstab": "/disk /srv/ftp none bind,nofail 0 0\n",
    # As Debian ships it, but for the right to write: what is uploaded is its user's alone.
    "/etc/vsftpd.conf": (
        "listen=YES\nanonymous_enable=NO\nlocal_enable=YES\nwrite_enable=YES\nlocal_umask=077\n"
        f"local_root={INPUT}\nseccomp_sandbox=NO\n"
    ),
    "/root/upload.py": _UPLOAD,
}


class Service:
    """The installed service, and what its owner and its cameras do."""

    first: Ran  # the first `service install`
    second: Ran  # the one after the remedy

    def __init__(self, debian: Debian) -> None:
        self.debian = debian
        self._times = itertools.count(1)
        self._found = ""  # the configuration `config init` made

    def install(self, wheel: Path) -> None:
        debian = self.debian
        shutil.copy(wheel, debian.path("/root"))
        debian.run(f"{SCRIPTS}/pip", "install", "-q", "--no-deps", "--no-index", f"/root/{wheel.name}")
        debian.shell(
            f"useradd -s /bin/sh -d {INPUT} -m {CAMERA_USER}; echo {CAMERA_USER}:secret | chpasswd;"
            "systemctl restart vsftpd"
        )
        self.upload("first", SHORT)
        debian.run(ARCHIVERD, "config", "init", INPUT, "--yes")
        self._found = debian.path(CONFIG).read_text()
        self.configure()
        self.first = debian.run(ARCHIVERD, "service", "install", "--yes", code=None)
        for line in self.first.out.splitlines():
            if line.startswith("  setfacl "):
                debian.shell(line)
        self.second = debian.run(ARCHIVERD, "service", "install", "--yes", "--start", code=None)

    def reset(self) -> None:
        """Have it run as it did at first, where a test has changed that."""
        config, drop_in = self.debian.path(CONFIG), self.debian.path(DROP_IN)
        if config.read_text() == self._config() and not drop_in.exists() and self.is_active:
            return
        self.configure()
        drop_in.unlink(missing_ok=True)
        self.debian.run("systemctl", "daemon-reload")
        self.debian.run("systemctl", "restart", "archiverd")

    def configure(self, **settings: str | int) -> None:
        """Write the configuration with these settings. Nobody is told."""
        self.debian.write(CONFIG, self._config(**settings))

    def _config(self, **settings: str | int) -> str:
        chosen = {"hardware": "software", "preset": "ultrafast", "settle": "3 seconds", **settings}
        return self._found + "".join(f"{key} = {json.dumps(value)}\n" for key, value in chosen.items())

    def drop_in(self, *lines: str) -> None:
        """Give the service settings of its owner's, and start it anew."""
        self.debian.write(DROP_IN, "".join(f"{line}\n" for line in ("[Service]", *lines)))
        self.debian.run("systemctl", "daemon-reload")
        self.debian.run("systemctl", "restart", "archiverd")

    def upload(self, camera: str, clip: footage.Clip) -> PurePosixPath:
        """A camera uploads a clip over FTP; its path below the input."""
        taken_at = datetime.now() - timedelta(minutes=next(self._times))
        name = PurePosixPath(footage.upload_path(Path(), camera, taken_at))
        shutil.copy(footage.cached(clip), self.debian.path("/root/clip.mp4"))
        self.debian.run("python3", "/root/upload.py", "/root/clip.mp4", str(name))
        return name

    def archived(self, name: PurePosixPath) -> bool:
        """Whether a clip was let go of. Asked of the disk: archiverd would read a configuration that is wrong."""
        gone = not self.debian.path(f"{INPUT}/{name}").exists()
        return gone and self.debian.path(f"{INPUT}/.deleted/{name}").exists()

    def told(self, *matches: str) -> list[str]:
        """What the journal has of the service, from it and about it."""
        return [str(entry["MESSAGE"]) for entry in self.debian.journal("-u", "archiverd", *matches)]

    def state(self) -> dict[str, str]:
        return self.debian.properties(
            "archiverd", "ActiveState", "SubState", "Result", "MainPID", "NRestarts", "StatusText", "ExecMainStatus"
        )

    @property
    def is_active(self) -> bool:
        return self.state()["ActiveState"] == "active"

    def processes(self, name: str) -> list[int]:
        """The processes of that name in the service's control group."""
        group = "/sys/fs/cgroup/system.slice/archiverd.service/cgroup.procs"
        numbers = self.debian.run("cat", group, code=None).out.split()
        names = {int(number): self.debian.run("cat", f"/proc/{number}/comm", code=None).out for number in numbers}
        return [number for number, comm in names.items() if comm.strip() == name]
