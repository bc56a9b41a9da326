"""`similar-fast audit`: finds what is wrong with labelled data."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from similar_fast.cli.arguments import HelpFormatter, words
from similar_fast.cli.output import Output, count

if TYPE_CHECKING:
    from similar_fast.srm.audit.findings import Finding
    from similar_fast.srm.audit.report import AuditReport
    from similar_fast.srm.audit.shortcuts import Judged, Shortcut

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Reads labelled data in any form and looks for what makes it wrong or misleading: swapped columns,
lost pairs, leaks between splits, duplicates, labels out of range, missing steps, broken encodings,
contradictions, and how far rules go that understand nothing. Several files are audited as one data
set: give train and eval together. Exit code 1 where a fault or a warning was found, 0 where there
are notes at most.
"""

_TITLES = {"fault": "faults", "warning": "warnings", "note": "notes"}


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "audit",
        parents=[shared],
        help="find what is wrong with labelled data",
        description=_DESCRIPTION,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "files", type=Path, nargs="*", metavar="FILE", help="steps, trajectories or pairs"
    )
    parser.add_argument(
        "--only", type=words, metavar="CHECKS", help="comma list of checks (default: all)"
    )
    parser.add_argument(
        "--max-examples", type=int, default=3, metavar="N", help="examples of each finding"
    )
    parser.add_argument("--checks", action="store_true", help="list the checks and stop")


def run(args: argparse.Namespace, output: Output) -> int:
    """Audits and tells; 1 where a fault or a warning was found."""
    from similar_fast.srm.audit.report import CHECKS, audit_data

    if args.checks:
        described = {
            name: (check.__doc__ or "").partition("\n")[0] for name, check in CHECKS.items()
        }
        output.table("checks", ("check", "what it finds"), described.items())
        output.document(described)
        return 0
    # A check is a unit, and so is reading all files.
    num_checks = len(CHECKS if args.only is None else args.only)
    with output.progress(num_checks + 1, "reading") as bar:

        def report(label: str) -> None:
            if label in CHECKS:
                bar.advance(label)
            else:
                bar.say(label)

        found = audit_data(
            args.files, only=args.only, max_examples=args.max_examples, progress=report
        )
    _tell(found, output)
    output.document(found.to_dict() | {"is_clean": found.is_clean})
    return 0 if found.is_clean else 1


def _tell(report: "AuditReport", output: Output) -> None:
    """The report for people: the findings by severity, then the table of the shortcuts."""
    read = (
        count(report.n_pairs, "pair"),
        count(report.n_steps, "step"),
        f"{report.n_trajectories:,} whole trajector{'y' if report.n_trajectories == 1 else 'ies'}",
    )
    output.text(f"{count(len(report.files), 'file')}: {', '.join(read)}")
    for severity, title in _TITLES.items():
        findings = [finding for finding in report.findings if finding.severity == severity]
        if findings:
            output.text("", title)
        for finding in findings:
            output.text(*_lines(finding))
    if report.shortcuts:
        output.text("")
        output.table(
            "rules that understand nothing: macro accuracy in %, 95% interval over tasks",
            ("data", "fixed on", "rule", "train", "other splits", "shift"),
            [_row(shortcut) for shortcut in report.shortcuts],
        )
    if not report.findings:
        output.text("nothing was found")


def _lines(finding: "Finding") -> list[str]:
    lines = [f"  {finding.check} ({finding.count:,}): {finding.words}"]
    lines += [f"      {example.place}: {example.words}" for example in finding.examples]
    return lines


def _row(shortcut: "Shortcut") -> tuple[str, ...]:
    train = [result for result in shortcut.judged if result.split == "train"]
    others = [result for result in shortcut.judged if result.split != "train"]
    return (
        shortcut.environment,
        shortcut.fixed_on or "itself",
        shortcut.prefers,
        ", ".join(map(_figure, train)),
        ", ".join(f"{result.split} {_figure(result)}".strip() for result in others),
        "" if shortcut.shift is None else f"{100 * shortcut.shift:+.0f}",
    )


def _figure(result: "Judged") -> str:
    if math.isnan(result.macro):
        return "not applicable"
    figure = f"{100 * result.macro:.0f}"
    if not math.isnan(result.low):
        figure += f" [{100 * result.low:.0f}, {100 * result.high:.0f}]"
    judged = [row.type for row in result.types if row.n]
    return f"{figure} ({judged[0]} alone)" if len(judged) == 1 < len(result.types) else figure
