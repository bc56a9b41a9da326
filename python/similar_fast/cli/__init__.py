"""The command line: parsing and dispatch; what a command needs is imported when it runs.

Exit codes: 0 all is well; 1 the command ran and found something wrong; 2 the command line does not
fit; 3 an error of this package, told in one line; 130 interrupted.
"""

import argparse
from collections.abc import Sequence

from similar_fast._core import __version__
from similar_fast.cli import (
    audit,
    audit_env,
    collect,
    convert,
    demo,
    doctor,
    dpo,
    evaluate,
    inspect,
    pairs,
    record,
    score,
    screenshots,
    search,
    split,
    train,
)
from similar_fast.cli.output import Output
from similar_fast.errors import SimilarFastError

__all__ = ["main"]

_COMMANDS = (
    demo,
    search,
    score,
    inspect,
    collect,
    train,
    screenshots,
    convert,
    pairs,
    dpo,
    split,
    audit,
    evaluate,
    record,
    audit_env,
    doctor,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Args:
        argv: The words after the program's name; None takes the process's own.
    """
    args = _parser().parse_args(argv)
    output = Output(is_json=args.json)
    try:
        return int(args.run(args, output))
    except (SimilarFastError, OSError, ImportError, ValueError) as error:
        if args.traceback:
            raise
        output.error(error)
        return 3
    except KeyboardInterrupt:
        keeps = getattr(args, "keeps_finished", False) and getattr(args, "out", None) is not None
        output.note("interrupted" + ("; what was finished is kept" if keeps else ""))
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="similar-fast",
        description="Score and search the next action of a GUI agent.",
        epilog="`similar-fast COMMAND --help` tells what a command takes. "
        "Exit codes: 0 well, 1 something was found wrong, 2 usage, 3 error, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"similar-fast {__version__}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--json", action="store_true", help="print one JSON document instead of text"
    )
    shared.add_argument(
        "--traceback", action="store_true", help="show where an error comes from in full"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands, shared)
    return parser
