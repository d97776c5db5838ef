"""archiverd as a service of a real systemd: installed, fed, reloaded, hung, stopped, removed."""

from __future__ import annotations

import re

import pytest

from archiverd.policy.units import MACHINE_FILE
from tests.program import CHECKOUT
from tests.systemd.installed import ARCHIVERD, CONFIG, DROP_IN, INPUT, LONG, SHORT, Service

# The first test waits for the Debian, which is made where there is none yet.
pytestmark = [pytest.mark.systemd, pytest.mark.timeout(1200)]

# -- installed ----------------------------------------------------------------------------------------------------


def test_installing_names_the_command_that_opens_the_uploads(service: Service) -> None:
    assert service.first.code == 1
    assert f"setfacl -R -m u:archiverd:rwX -m d:u:archiverd:rwX {INPUT}" in service.first.out
    assert service.second.code == 0, service.second.out


def test_what_is_of_this_machine_stands_in_a_drop_in(service: Service) -> None:
    text = service.debian.path(str(MACHINE_FILE)).read_text()

    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "[Unit]",
        f"RequiresMountsFor={INPUT}",
        "",
        "[Service]",
        "ExecStart=",
        f"ExecStart={ARCHIVERD} daemon",
        f"ReadWritePaths=-{INPUT}",
        "MemoryDenyWriteExecute=yes",
        "",
        "[Install]",
        "WantedBy=srv-ftp.mount",
    ]


def test_service_runs_as_its_own_user_and_with_the_machine(service: Service) -> None:
    assert service.debian.run("systemctl", "is-enabled", "archiverd").out.strip() == "enabled"
    assert service.is_active
    (user,) = service.debian.properties("archiverd", "User").values()
    assert user == "archiverd"


def test_installing_again_changes_nothing_and_disturbs_nobody(service: Service) -> None:
    before = service.state()["MainPID"]

    again = service.debian.run(ARCHIVERD, "service", "install", "--yes")

    assert re.findall(r"conf: (.*)|service: (.*)", again.out) == [("", "as it is")] * 2 + [("as it is", "")] * 3
    assert service.state()["MainPID"] == before


@pytest.mark.parametrize(
    ("broken", "commands"),
    [
        ("chmod 700 /srv/ftp", ["setfacl -m u:archiverd:x /srv/ftp"]),
        (f"setfacl -k {INPUT}", [f"setfacl -R -m u:archiverd:rwX -m d:u:archiverd:rwX {INPUT}"]),
        (
            f"chmod +t {INPUT}/20*; setfacl -R -b {INPUT}/archived; chown -R root {INPUT}/archived; chmod 600 {CONFIG}",
            [
                f"find {INPUT} -xdev -type d -perm -1000 -exec chmod -t {{}} +",
                f"chown -R archiverd {INPUT}/archived",
                f"setfacl -m u:archiverd:r {CONFIG}",
            ],
        ),
    ],
    ids=["a directory above is closed", "what is made next will be closed", "three at once"],
)
def test_what_keeps_the_service_from_its_work_is_named_with_what_mends_it(
    service: Service, broken: str, commands: list[str]
) -> None:
    service.debian.shell(broken)

    told = service.debian.run(ARCHIVERD, "service", "install", "--yes", code=1)

    assert [line.strip() for line in told.out.splitlines()][-len(commands) :] == commands
    for command in commands:
        service.debian.shell(command)
    service.debian.run(ARCHIVERD, "service", "install", "--yes")
    service.debian.run("chmod", "755", "/srv/ftp")


def test_server_that_takes_the_rights_away_is_told_of(service: Service) -> None:
    service.debian.shell(f"setfacl -m m::rx {INPUT}/20*")

    told = service.debian.run(ARCHIVERD, "service", "install", "--yes", code=1)

    service.debian.shell(f"setfacl -m m::rwx {INPUT}/20*")
    assert "Umask 113:002" in told.out


def test_program_that_the_service_may_not_start_is_named(service: Service) -> None:
    service.debian.run("chmod", "700", "/opt/archiverd")

    told = service.debian.run(ARCHIVERD, "service", "install", "--yes", code=1)

    service.debian.run("chmod", "755", "/opt/archiverd")
    assert f"can't start {ARCHIVERD}" in told.out


def test_who_is_not_root_is_told_so(service: Service) -> None:
    refused = service.debian.run("runuser", "-u", "camera", "--", ARCHIVERD, "service", "install", "--yes", code=69)

    assert "only root" in refused.err


def test_systemd_finds_no_fault_in_the_units(service: Service) -> None:
    checked = service.debian.run("systemd-analyze", "verify", "--man=no", "archiverd.service")

    assert (checked.out, checked.err) == ("", "")


def test_service_as_it_runs_is_hardly_exposed(service: Service) -> None:
    told = service.debian.run("systemd-analyze", "security", "--no-pager", "archiverd").out

    assert float(re.findall(r"exposure level for archiverd.service: ([\d.]+)", told)[0]) <= 1.2


def test_service_has_no_network_and_writes_nowhere_else(service: Service) -> None:
    inside = ("nsenter", "-t", service.state()["MainPID"], "-m", "-n")

    assert "Read-only" in service.debian.run(*inside, "touch", "/etc/x", code=1).err
    service.debian.run(*inside, "touch", f"{INPUT}/x")
    service.debian.path(f"{INPUT}/x").unlink()
    interfaces = service.debian.run(*inside, "cat", "/proc/net/dev").out
    assert re.findall(r"^ *(\w+):", interfaces, re.MULTILINE) == ["lo"]


# -- at work ------------------------------------------------------------------------------------------------------


def test_what_a_camera_uploads_is_archived(service: Service) -> None:
    name = service.upload("front", SHORT)

    service.debian.becomes(lambda: service.archived(name))
    archives = [path.name for path in service.debian.path(f"{INPUT}/archived/{name.parent}").iterdir()]
    assert archives.count(name.name) == 1
    assert not service.debian.path(f"{INPUT}/{name}").exists()
    assert service.debian.path(f"{INPUT}/.deleted/{name}").exists()


def test_journal_is_told_by_camera(service: Service) -> None:
    front, back = service.upload("side", SHORT), service.upload("back", SHORT)
    service.debian.becomes(lambda: service.archived(front) and service.archived(back))

    told = service.debian.journal("-u", "archiverd", "CAMERA=side")

    assert told
    assert {entry["CAMERA"] for entry in told} == {"side"}
    assert {entry["_SYSTEMD_UNIT"] for entry in told} == {"archiverd.service"}
    assert not service.debian.journal("-u", "archiverd", "-p", "warning", "CAMERA=side")


def test_good_configuration_is_in_use_after_a_reload(service: Service) -> None:
    before = service.state()["MainPID"]
    service.configure(codec="h264")

    service.debian.run("systemctl", "reload", "archiverd")

    service.debian.becomes(
        lambda: any('"h264"' in str(e["MESSAGE"]) for e in service.debian.journal("-u", "archiverd"))
    )
    name = service.upload("good", SHORT)
    service.debian.becomes(lambda: service.archived(name))
    assert "x264" in service.debian.run(ARCHIVERD, "why", f"{INPUT}/{name}").out
    assert service.state()["MainPID"] == before


def test_bad_configuration_is_told_whole_and_the_old_one_stays(service: Service) -> None:
    before = service.state()["MainPID"]
    service.configure(codec="mpeg2", nice=99)

    service.debian.run("systemctl", "reload", "archiverd")

    service.debian.becomes(lambda: any("nice: must be" in message for message in service.told("-p", "warning")))
    assert any("codec: must be" in message for message in service.told("-p", "warning"))
    name = service.upload("bad", SHORT)
    service.debian.becomes(lambda: service.archived(name))
    assert service.is_active
    assert service.state()["MainPID"] == before


def test_hung_daemon_is_started_anew_and_loses_nothing(service: Service) -> None:
    service.drop_in("WatchdogSec=4", "RestartSec=1")
    before = service.state()["MainPID"]
    service.debian.shell(f"kill -STOP {before}")
    name = service.upload("hung", SHORT)

    service.debian.becomes(lambda: service.is_active and service.state()["MainPID"] not in ("0", before))

    service.debian.becomes(lambda: service.archived(name))
    assert int(service.state()["NRestarts"]) >= 1
    assert any("watchdog" in message.lower() for message in service.told())


def test_stop_in_mid_encode_leaves_nothing_and_no_failure(service: Service) -> None:
    service.configure(preset="veryslow")
    service.debian.run("systemctl", "restart", "archiverd")
    name = service.upload("long", LONG)
    service.debian.becomes(lambda: any(service.debian.path(INPUT).glob("archived/*/*/*/*.part")))
    service.debian.becomes(lambda: bool(service.processes("ffmpeg")))

    service.debian.run("systemctl", "stop", "archiverd")

    state = service.state()
    assert (state["ActiveState"], state["Result"], state["ExecMainStatus"]) == ("inactive", "success", "0")
    assert not list(service.debian.path(INPUT).rglob("*.part"))
    assert not service.processes("ffmpeg")
    service.debian.path(f"{INPUT}/{name}").unlink()  # it stands; and nobody waits for it in the other tests


def test_service_goes_with_its_disk_and_comes_back_with_it(service: Service) -> None:
    service.debian.run("systemctl", "stop", "srv-ftp.mount")
    service.debian.becomes(lambda: service.state()["ActiveState"] == "inactive")

    service.debian.run("mount", "/srv/ftp")

    service.debian.becomes(lambda: service.is_active)
    name = service.upload("disk", SHORT)
    service.debian.becomes(lambda: service.archived(name))


def test_wrong_configuration_at_the_start_is_a_failure_that_is_told(service: Service) -> None:
    example = (CHECKOUT / "systemd/examples/on-failure.conf").read_text()
    service.debian.write(DROP_IN, example)
    service.configure(nice=99)
    service.debian.run("systemctl", "daemon-reload")

    service.debian.run("systemctl", "restart", "archiverd", code=1)

    state = service.state()
    assert (state["ActiveState"], state["ExecMainStatus"]) == ("failed", "78")
    service.debian.becomes(
        lambda: any("is not started again" in str(e["MESSAGE"]) for e in service.debian.journal("-p", "crit"))
    )


def test_tree_that_is_missing_at_the_start_is_waited_for(service: Service) -> None:
    service.debian.write(DROP_IN, "[Service]\nRestartSec=1\n")
    service.debian.shell(f"systemctl daemon-reload; systemctl stop archiverd; mv {INPUT} {INPUT}-away")
    try:
        service.debian.run("systemctl", "start", "archiverd", code=1)
        service.debian.becomes(lambda: int(service.state()["NRestarts"]) > 1)
    finally:
        service.debian.shell(f"mv {INPUT}-away {INPUT}")

    service.debian.becomes(lambda: service.is_active)


# -- removed ------------------------------------------------------------------------------------------------------


def test_uninstalling_removes_what_was_installed_and_nothing_else(service: Service) -> None:
    service.debian.run(ARCHIVERD, "service", "uninstall", "--yes")

    try:
        left = service.debian.shell(
            "find /etc/systemd/system /etc/sysusers.d /etc/tmpfiles.d /etc/archiverd -name '*archiverd*'"
        ).out.split()
        assert left == ["/etc/archiverd", "/etc/archiverd/archiverd.toml"]
        assert not service.processes("archiverd")
        assert service.debian.path(f"{INPUT}/archived").is_dir()
        assert "archiverd" in service.debian.run("getent", "passwd", "archiverd").out
    finally:
        service.debian.run(ARCHIVERD, "service", "install", "--yes", "--start")
