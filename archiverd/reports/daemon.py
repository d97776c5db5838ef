"""What is wrong now, and what the daemon does."""

from __future__ import annotations

from collections.abc import Iterable

from archiverd.policy.live import Daemon, status_words
from archiverd.policy.problems import Course
from archiverd.reports.words import JsonObject, time_text


def problems_json(courses: Iterable[Course]) -> list[JsonObject]:
    """The open problems, as JSON."""
    return [
        {
            "kind": course.problem.kind, "subject": course.problem.subject, "message": course.problem.message,
            "remedy": course.problem.remedy, "since": course.since,
        }
        for course in courses
    ]  # fmt: skip


def problem_lines(problems: Iterable[JsonObject], *, running: bool) -> list[str]:
    """The open problems with what mends each; nothing where there is none. `running`: their daemon is."""
    lines = []
    for problem in problems:
        lines.append(f"  {problem['message']} (since {time_text(problem['since'])})")
        lines += [f"    {problem['remedy']}"] if problem["remedy"] else []
    return [f"Problems{'' if running else ' when the daemon ran last'}:", *lines] if lines else []


def daemon_json(daemon: Daemon) -> JsonObject:
    """Whether a daemon runs, and where it does what it does, as JSON."""
    if not daemon.running or daemon.live is None:
        return {"running": False, "died": daemon.live is not None}
    live = daemon.live.to_json()
    del live["format"], live["start_ticks"]  # of the file, and of nobody else's concern
    return {"running": True, "died": False, "words": status_words(daemon.live), **live}


def daemon_lines(daemon: JsonObject) -> list[str]:
    """What the daemon does, in lines."""
    if not daemon["running"]:
        end = "; the last one was killed, or lost its power" if daemon["died"] else ""
        return [f"Daemon: not running{end}"]
    lines = [f"Daemon: running since {time_text(daemon['since'])} as process {daemon['pid']}, {daemon['words']}"]
    task = daemon["task"]
    if task is not None:
        speed = f", at {task['speed']:g}x" if task["speed"] else ""
        lines.append(f"  {task['name']}, begun {time_text(task['began_at'])}{speed}")
    found = [f"new files are found {daemon['watching']}"] if daemon["watching"] else []
    found += [f"{daemon['unread']} seen and not looked at yet"] if daemon["unread"] else []
    scanned_at = daemon["scanned_at"]
    found += [f"everything was looked through {time_text(scanned_at)}"] if scanned_at is not None else []
    lines += [f"  {', '.join(found)}"] if found else []
    return lines + ([f"  last: {daemon['last']}"] if daemon["last"] else [])
