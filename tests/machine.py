"""A made-up machine below a directory: mounts, uploads, devices. What stands there is real, what is mounted is told."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

TODAY = date.today()


class Machine:
    """`root` is handed to `survey`. Begins with one ext4 that holds everything."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/self").mkdir(parents=True)
        self._mountinfo = root / "proc/self/mountinfo"
        self._mountinfo.write_text(
            "27 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n22 27 0:21 / /proc rw - proc proc rw\n"
        )

    def path(self, place: str) -> Path:
        return self.root / place

    def mount(self, place: str, kind: str = "ext4", *, device: str = "8:17", options: str = "rw,relatime") -> Path:
        """Say that something is mounted there; the directory is made."""
        path = self.path(place)
        path.mkdir(parents=True, exist_ok=True)
        told = str(path).replace("\\", r"\134").replace(" ", r"\040").replace("\n", r"\012")
        with self._mountinfo.open("a") as file:
            file.write(f"40 27 {device} / {told} {options} shared:1 - {kind} source {options}\n")
        return path

    def uploads(self, place: str, *days_ago: int, camera: str = "front", size: int = 1000, clips: int = 2) -> Path:
        """Clips of some days below a directory, a snapshot beside each; no byte of them is written."""
        for ago in days_ago:
            day = TODAY - timedelta(days=ago)
            folder = self.path(place) / f"{day:%Y/%m/%d}"
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(clips):
                stem = f"REO_{camera}_{day:%Y%m%d}10{number:02}00"
                (folder / f"{stem}.jpg").touch()
                (folder / f"{stem}.mp4").touch()
                os.truncate(folder / f"{stem}.mp4", size)
        return self.path(place)

    def node(
        self, name: str, vendor: str | None, *, device_id: str = "", driver: str = "", target: str = "/dev/null",
    ) -> None:  # fmt: skip
        device = self.path(f"sys/class/drm/{name}/device")
        device.mkdir(parents=True)
        if vendor is not None:
            (device / "vendor").write_text(f"{vendor}\n")
        if device_id:
            (device / "device").write_text(f"{device_id}\n")
        if driver:
            (device / "driver").symlink_to(f"../../bus/pci/drivers/{driver}")
        self.path("dev/dri").mkdir(parents=True, exist_ok=True)
        self.path(f"dev/dri/{name}").symlink_to(target)  # a device that everybody may open

    def file(self, place: str, text: str) -> Path:
        """A file of the machine, with what it holds."""
        path = self.path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path
