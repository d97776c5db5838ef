"""`python -m bench [overhead] [--rounds N] [--seconds S]`: measure, print a table, keep the figures as JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench import overhead
from tools.footage import FootageError

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure archiverd on this machine.")
    parser.add_argument("what", nargs="?", default="overhead", choices=("overhead",))
    parser.add_argument("--rounds", type=int, default=3, help="of both commands (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="length of the clip (%(default)s)")
    parser.add_argument("--work", type=Path, help="where to work, on the disk to be measured (the temporary directory)")
    parser.add_argument("--whole", default=overhead.WHOLE, help="the whole run's command; {tree} is its directory")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go (%(default)s)")
    given = parser.parse_args()
    if given.rounds < 1 or given.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    try:
        result = overhead.run(given.rounds, given.seconds, whole=given.whole, work=given.work)
        kept = overhead.keep(result, given.results)
    except (overhead.BenchError, FootageError, OSError) as error:
        print(f"nothing measured: {error}", file=sys.stderr)
        return 1
    print(overhead.table(result))
    print(f"kept as {kept}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
