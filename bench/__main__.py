"""`python -m bench [WHAT] [OPTION...]`: measure, print a table, keep the figures as JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench import (
    accidents,
    cleanup,
    command,
    confinement,
    fleet,
    idle,
    latency,
    overhead,
    performance,
    quality,
    quality_guide,
    scale,
    soak,
)
from bench.accident_scenes import ACCIDENTS
from bench.command import RESULTS, BenchError
from tools.footage import FootageError


def main() -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure archiverd on this machine.")
    kinds = parser.add_subparsers(
        dest="what", metavar="overhead|quality|latency|idle|cleanup|scale|fleet|confinement|soak|accidents|performance"
    )
    _add_overhead(kinds.add_parser("overhead", help="what a run costs over the bare ffmpeg command (the default)"))
    _add_quality(kinds.add_parser("quality", help="size, likeness and processor time over codec, preset and quality"))
    _add_latency(kinds.add_parser("latency", help="from the close of an upload to the start of ffmpeg, in the daemon"))
    _add_idle(kinds.add_parser("idle", help="processor and memory of the daemon where nothing is to be done"))
    _add_cleanup(kinds.add_parser("cleanup", help="plan and removal by the rules, over a million archives"))
    _add_scale(kinds.add_parser("scale", help="how it bears up from ten thousand files to a million"))
    _add_fleet(kinds.add_parser("fleet", help="64 cameras for a day in simulated time: what waits, and what is told"))
    _add_confinement(kinds.add_parser("confinement", help="one clip with ffmpeg confined, and not"))
    _add_soak(kinds.add_parser("soak", help="whether what the daemon holds is flat under steady uploads"))
    _add_accidents(kinds.add_parser("accidents", help="what becomes of footage in seven accidents, beside Unmanic"))
    _add_performance(kinds.add_parser("performance", help="write the page on speed and scale from what was kept last"))
    words = sys.argv[1:]
    named = bool(words) and words[0] in {*kinds.choices, "-h", "--help"}
    given = parser.parse_args(words if named else ["overhead", *words])
    try:
        measure: Callable[[argparse.Namespace], int] = given.measure
        return measure(given)
    except (BenchError, FootageError, OSError) as error:
        print(f"not done: {error}", file=sys.stderr)
        return 1


def _add_overhead(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(measure=_overhead)
    parser.add_argument("--rounds", type=_positive, default=3, help="of both commands (%(default)s)")
    parser.add_argument("--seconds", type=_positive, default=60, help="length of a clip (%(default)s)")
    parser.add_argument("--clips", type=_positive, default=1, help="in the tree (%(default)s)")
    parser.add_argument("--work", type=Path, help="where to work, on the disk to be measured (the temporary directory)")
    parser.add_argument("--whole", default=overhead.WHOLE, help="the whole run's command; {tree} is its directory")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go (%(default)s)")


def _add_quality(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(measure=_quality)
    parser.add_argument("--quick", action="store_true", help="one tiny clip, to see that it runs; writes no guide")
    parser.add_argument("--again", type=Path, metavar="FILE", help="measure nothing, tell the figures kept in FILE")
    parser.add_argument("--guide", type=Path, help=f"the page to write tables and plot into ({quality_guide.GUIDE})")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go (%(default)s)")


def _add_latency(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(measure=_latency)
    parser.add_argument("--per-second", type=_positive, default=5, help="clips (%(default)s)")
    parser.add_argument("--seconds", type=_positive, default=60, help="for so long (%(default)s)")
    _add_places(parser)


def _add_idle(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(measure=_idle)
    parser.add_argument("--recordings", type=_positive, default=100_000, help="in the catalog (%(default)s)")
    parser.add_argument("--seconds", type=_positive, default=60, help="for so long (%(default)s)")
    _add_places(parser)


def _add_cleanup(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(measure=_cleanup)
    parser.add_argument("--recordings", type=_positive, default=1_000_000, help="in the catalog (%(default)s)")
    parser.add_argument("--removed", type=_positive, default=10_000, help="in each round (%(default)s)")
    parser.add_argument("--rounds", type=_positive, default=5, help="of both (%(default)s)")
    _add_places(parser)


def _add_scale(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(measure=_scale)
    parser.add_argument(
        "--files",
        type=_positive,
        action="append",
        help=f"of a tree; may be given again ({', '.join(map(str, scale.SIZES))})",
    )
    parser.add_argument("--rounds", type=_positive, default=5, help="of both (%(default)s)")
    _add_places(parser)


def _add_fleet(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(measure=_fleet)
    parser.add_argument("--hours", type=_positive, default=fleet.HOURS, help="of simulated time (%(default)s)")
    _add_places(parser)


def _add_confinement(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(measure=_confinement)
    parser.add_argument("--rounds", type=_positive, default=7, help="of both (%(default)s)")
    parser.add_argument("--seconds", type=_positive, default=5, help="length of the clip (%(default)s)")
    _add_places(parser)


def _add_soak(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(measure=_soak)
    parser.add_argument("--minutes", type=_positive, default=60, help="for so long (%(default)s)")
    parser.add_argument("--per-minute", type=_positive, default=20, help="clips (%(default)s)")
    parser.add_argument(
        "--ceiling", type=_positive, default=40, metavar="KB", help="of archive and of trash (%(default)s)"
    )
    _add_places(parser)


def _add_accidents(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(measure=_accidents)
    names = [accident.name for accident in ACCIDENTS]
    parser.add_argument("--only", action="append", choices=names, help="this accident; may be given again (all)")
    parser.add_argument("--unmanic", type=Path, metavar="DIR", help="an environment with Unmanic, or its Python")
    parser.add_argument("--program", action="append", help="this one, as its column is named; may be given again (all)")
    parser.add_argument("--pause", type=_positive, default=150, metavar="S", help="of slow writers (%(default)s)")
    parser.add_argument("--at-once", type=_positive, default=6, help="accidents (%(default)s)")
    parser.add_argument(
        "--again",
        action="append",
        type=Path,
        metavar="FILE",
        help="do nothing, tell what is kept; of two files the later holds",
    )
    parser.add_argument("--guide", type=Path, help=f"the page to write into (with Unmanic and all: {accidents.GUIDE})")
    _add_places(parser)


def _add_performance(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(measure=_performance)
    parser.add_argument("--guide", type=Path, default=performance.GUIDE, help="the page (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are (%(default)s)")


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, help="where to work (the temporary directory)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go (%(default)s)")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _overhead(given: argparse.Namespace) -> int:
    result = overhead.run(given.rounds, given.seconds, clips=given.clips, whole=given.whole, work=given.work)
    print(overhead.table(result))
    print(f"kept as {command.keep('overhead', result, given.results)}")
    return 0


def _quality(given: argparse.Namespace) -> int:
    if given.again:
        result = quality.kept(given.again)
    else:
        result = quality.run(quick=given.quick)
        print(f"kept as {command.keep('quality', result, given.results)}", file=sys.stderr)
    print(quality_guide.tables(result))
    guide = given.guide or (None if given.quick else quality_guide.GUIDE)
    if guide:
        quality_guide.write(result, guide)
        print(f"written into {guide} and {guide.with_suffix('.svg')}", file=sys.stderr)
    return 0


def _latency(given: argparse.Namespace) -> int:
    result = latency.run(given.per_second, given.seconds, given.work)
    print(latency.table(result))
    print(f"kept as {command.keep('latency', result, given.results)}")
    return 0


def _idle(given: argparse.Namespace) -> int:
    result = idle.run(given.recordings, given.seconds, given.work)
    print(idle.table(result))
    print(f"kept as {command.keep('idle', result, given.results)}")
    return 0


def _cleanup(given: argparse.Namespace) -> int:
    result = cleanup.run(given.recordings, given.removed, given.rounds, given.work)
    print(cleanup.table(result))
    print(f"kept as {command.keep('cleanup', result, given.results)}")
    return 0


def _scale(given: argparse.Namespace) -> int:
    result = scale.run(given.files or scale.SIZES, given.rounds, given.work)
    print(scale.table(result))
    print(f"kept as {command.keep('scale', result, given.results)}")
    return 0


def _fleet(given: argparse.Namespace) -> int:
    result = fleet.run(given.hours, given.work)
    print(fleet.table(result))
    print(f"kept as {command.keep('fleet', result, given.results)}")
    return 0


def _confinement(given: argparse.Namespace) -> int:
    result = confinement.run(given.rounds, given.seconds, given.work)
    print(confinement.table(result))
    print(f"kept as {command.keep('confinement', result, given.results)}")
    return 0


def _soak(given: argparse.Namespace) -> int:
    result = soak.run(given.minutes, given.per_minute, given.ceiling, given.work)
    print(soak.table(result))
    print(f"kept as {command.keep('soak', result, given.results)}")
    return 0 if result.is_met else 1


def _accidents(given: argparse.Namespace) -> int:
    if given.again:
        result = accidents.merged([accidents.kept(path) for path in given.again])
    else:
        result = accidents.run(
            given.only or (),
            given.unmanic,
            given.program or (),
            pause_s=given.pause,
            at_once=given.at_once,
            work=given.work,
        )
        print(f"kept as {command.keep('accidents', result, given.results)}", file=sys.stderr)
    print(accidents.table(result))
    guide = given.guide or (accidents.GUIDE if given.unmanic and not (given.only or given.program) else None)
    if guide:
        accidents.write(result, guide)
        print(f"written into {guide}", file=sys.stderr)
    return 0


def _performance(given: argparse.Namespace) -> int:
    for path in performance.write(performance.newest(given.results), given.guide):
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
