"""`similar-fast convert`: labelled data of any published form becomes the schema of ours."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from similar_fast.cli.arguments import HelpFormatter
from similar_fast.cli.data_files import refuse_inputs
from similar_fast.cli.output import Bar, Output, count

if TYPE_CHECKING:
    from similar_fast.errors import DataError
    from similar_fast.records import Record

__all__ = ["add_parser", "run"]


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    from similar_fast.srm.forms import FORMS
    from similar_fast.srm.published import PLATFORMS

    parser = commands.add_parser(
        "convert",
        parents=[shared],
        help="bring labelled data of any published form into one schema",
        description="Reads steps, trajectories or pairs and writes them as JSON lines or Parquet, "
        "by the suffix of OUT: .jsonl, .jsonl.gz, .jsonl.xz or .parquet. OUT is written as a whole "
        "or not at all. Exit code 1 where a row was set aside.",
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("source", type=Path, metavar="IN", help="the file to read")
    parser.add_argument("target", type=Path, metavar="OUT", help="the file to write")
    parser.add_argument(
        "--form", choices=FORMS, default="auto", help="the form of IN; auto looks at its content"
    )
    parser.add_argument(
        "--environment", metavar="NAME", help="where the form does not tell (default: by the name)"
    )
    parser.add_argument(
        "--platform", choices=PLATFORMS, help="where the form does not tell (default: by the name)"
    )
    parser.add_argument("--split", metavar="NAME", help="write this split into every record")
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="set a row that is no record aside into OUT.rejected.jsonl, with line and reason",
    )


@dataclass(slots=True)
class _Aside:
    """The rows that are no records, as lines of JSON."""

    lines: list[bytes] = field(default_factory=list)

    def add(self, error: "DataError", raw: bytes) -> None:
        """Keeps one row."""
        import msgspec

        line = {"line": error.line, "error": str(error), "row": raw.decode("utf-8", "replace")}
        self.lines.append(msgspec.json.encode(line) + b"\n")


def run(args: argparse.Namespace, output: Output) -> int:
    """Converts the file; 1 where a row was set aside."""
    from similar_fast.files.whole_file import write_whole
    from similar_fast.srm.writers import check_suffix, write_data

    check_suffix(args.target)
    refuse_inputs([args.source], args.target)
    rejected = args.target.with_name(args.target.name + ".rejected.jsonl")
    refuse_inputs([args.source], rejected)
    aside = _Aside()
    kinds: dict[str, int] = {}
    with output.progress(args.source.stat().st_size, f"bytes of {args.source}") as bar:
        written = write_data(args.target, _records(args, aside, kinds, bar=bar))
    if aside.lines:
        write_whole(rejected, b"".join(aside.lines))
    else:
        rejected.unlink(missing_ok=True)
    found = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
    output.text(f"{count(written, 'record')} written: {args.target}")
    if found:
        output.text(f"  {found}")
    if aside.lines:
        output.note(f"{count(len(aside.lines), 'row')} set aside, with the reasons: {rejected}")
    output.document(
        {
            "records": written,
            "kinds": kinds,
            "rejected": len(aside.lines),
            "out": str(args.target),
            "rejected_file": str(rejected) if aside.lines else None,
        }
    )
    return 1 if aside.lines else 0


def _records(
    args: argparse.Namespace, aside: _Aside, kinds: dict[str, int], *, bar: Bar
) -> Iterator["Record"]:
    """The records of the file, counted by kind."""
    from similar_fast.srm.readers import read_data
    from similar_fast.srm.splits import with_split

    done = 0

    def report(num_bytes: int) -> None:
        nonlocal done
        bar.advance(amount=num_bytes - done)
        done = num_bytes

    for record in read_data(
        args.source,
        form=args.form,
        environment=args.environment,
        platform=args.platform,
        on_bad=aside.add if args.keep_going else None,
        report=report,
    ):
        kind = str(record.__struct_config__.tag)
        kinds[kind] = kinds.get(kind, 0) + 1
        yield record if args.split is None else with_split(record, args.split)
