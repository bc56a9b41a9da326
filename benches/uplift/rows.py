"""The rows of the arms: a log each while they are played, a packed file each once committed."""

import lzma
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from similar_fast.errors import DataError
from similar_fast.files.whole_file import write_whole
from similar_fast.search.episodes import Episode, EpisodeLog

__all__ = [
    "COMMITTED",
    "LOG",
    "PACKED",
    "adopt",
    "check_rows",
    "pack",
    "parts_of",
    "read_folders",
    "read_rows",
    "short_name",
    "unpack",
]

COMMITTED = Path(__file__).parent / "rows"
"""Where the committed rows are."""

LOG, PACKED = ".jsonl", ".jsonl.xz"


def read_rows(path: Path) -> list[Episode]:
    """The rows of a log, packed or not.

    Raises:
        DataError: It is no log of episodes, or cannot be unpacked.
        OSError: It cannot be read.
    """
    data = path.read_bytes()
    if path.name.endswith(PACKED):
        try:
            data = lzma.decompress(data, format=lzma.FORMAT_XZ)
        except lzma.LZMAError as err:
            raise DataError(f"it is no xz file: {err}", path=path) from err
    return EpisodeLog.parse(data, path)


def short_name(arm: str) -> str:
    """The arm's name without what stands in parentheses."""
    return arm.partition("(")[0]


def parts_of(arm: str) -> dict[str, str]:
    """What stands in the parentheses of an arm's name, by name."""
    inside = arm.partition("(")[2].rpartition(")")[0]
    pairs = (part.partition("=") for part in inside.split(",") if part)
    return {name: value for name, _, value in pairs}


def check_rows(rows: Iterable[Episode], name: str | None, path: Path) -> None:
    """Refuses rows of another arm, or of the same arm with another model or setting.

    Args:
        rows: What `path` holds.
        name: What they must be called; None for the same as the first.
        path: What an error names.

    Raises:
        DataError: A row is called otherwise, or a (task, seed) stands there twice.
    """
    there: set[tuple[str, int]] = set()
    for number, row in enumerate(rows, 1):
        name = row.arm if name is None else name
        if row.arm != name:
            raise DataError(_difference(row.arm, name), path=path, line=number)
        if (row.task, row.seed) in there:
            raise DataError(f"{row.task} seed {row.seed} stands here twice", path=path, line=number)
        there.add((row.task, row.seed))


def _difference(found: str, expected: str) -> str:
    """The first thing in which two names differ, in words."""
    if short_name(found) == short_name(expected):
        have, want = parts_of(found), parts_of(expected)
        for name in {**want, **have}:
            if have.get(name) != want.get(name):
                return (
                    f"a row of {short_name(found)} was played with {name}={have.get(name)}; "
                    f"expected {name}={want.get(name)}, since rows of one arm are comparable"
                )
    return f"a row of {found!r:.120}; expected {expected!r:.120}"


def adopt(log: EpisodeLog, rows: Iterable[Episode]) -> int:
    """Writes to `log` the rows that it lacks; how many those are."""
    there = {(row.task, row.seed) for row in log.episodes}
    new = [row for row in rows if (row.task, row.seed) not in there]
    for row in new:
        log.append(row)
    return len(new)


def pack(out: Path, folder: Path) -> dict[Path, int]:
    """Packs each log of `out` into `folder`, beside the rows that are packed there already.

    The same rows give the same bytes, whatever the order in which they were played. Of two rows of
    one (task, seed) the packed one stays.

    Returns:
        How many rows each written file has.

    Raises:
        DataError: A log is broken, or holds rows of another model or setting than the packed file.
        FileNotFoundError: `out` holds no log.
    """
    logs = sorted(out.glob("*" + LOG))
    if not logs:
        raise FileNotFoundError(f"{out} holds no *{LOG}")
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for log in logs:
        rows = read_rows(log)
        if not rows:
            continue
        check_rows(rows, None, log)
        path = folder / (log.name.removesuffix(LOG) + PACKED)
        before = read_rows(path) if path.exists() else []
        check_rows(before, rows[0].arm, path)
        both = {(row.task, row.seed): row for row in (*rows, *before)}
        write_whole(path, packed_bytes([both[key] for key in sorted(both)]))
        counts[path] = len(both)
    return counts


def packed_bytes(rows: Sequence[Episode]) -> bytes:
    """The rows as the bytes of a packed file; times to the millisecond."""
    lines = [replace(row, seconds=round(row.seconds, 3)).to_json() + "\n" for row in rows]
    return lzma.compress(
        "".join(lines).encode(),
        format=lzma.FORMAT_XZ,
        check=lzma.CHECK_CRC64,
        preset=6 | lzma.PRESET_EXTREME,
    )


def unpack(folder: Path, out: Path) -> dict[Path, int]:
    """Writes the packed rows of `folder` into the logs of `out` that lack them.

    Returns:
        How many rows each log was given.

    Raises:
        DataError: A file is broken, or a log holds rows of another model or setting.
    """
    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for path in sorted(folder.glob("*" + PACKED)):
        rows = read_rows(path)
        check_rows(rows, None, path)
        target = out / (path.name.removesuffix(PACKED) + LOG)
        log = EpisodeLog(target)
        try:
            check_rows(log.episodes, rows[0].arm if rows else None, target)
            counts[target] = adopt(log, rows)
        finally:
            log.close()
    return counts


def read_folders(*folders: Path) -> dict[str, list[Episode]]:
    """The rows of every arm in the folders, by the arm's short name.

    Raises:
        DataError: A file is broken, or two of one arm hold rows of other models or settings.
        FileNotFoundError: A folder holds no rows.
    """
    arms: dict[str, list[Episode]] = {}
    found = [
        [*sorted(folder.glob("*" + LOG)), *sorted(folder.glob("*" + PACKED))] for folder in folders
    ]
    for folder, paths in zip(folders, found, strict=True):
        if not paths:
            raise FileNotFoundError(f"{folder} holds no rows: *{LOG} or *{PACKED}")
    for path in chain.from_iterable(found):
        rows = read_rows(path)
        if not rows:
            continue
        check_rows(rows, None, path)
        before = arms.setdefault(short_name(rows[0].arm), [])
        check_rows(rows, before[0].arm if before else None, path)
        there = {(row.task, row.seed) for row in before}
        before += [row for row in rows if (row.task, row.seed) not in there]
    return arms
