"""Files of labelled data that the tests of reading write, and how they read them."""

from pathlib import Path

from msgspec.structs import replace
from similar_fast.errors import DataError
from similar_fast.records import PairRecord, Record
from similar_fast.srm import lines
from similar_fast.srm.pairs import pairs_of_trajectories
from similar_fast.srm.readers import read_data
from srm_records import FIVE, trajectory

WORDS = {
    "utf-8": "naïve 打开 ☂",
    "utf-8-sig": "naïve 打开 ☂",
    "gb2312": "打开设置、然后购买车票",
    "gbk": "打开設置、然後購買車票",
    "gb18030": "打开设置、然后购买车票 \U00020000",
    "iso-8859-1": "naïve déjà vu, ½ café ®",
}


def sample_pairs(words: str = "Buy a ticket") -> list[PairRecord]:
    better = replace(FIVE, odds_of_success=1, efficiency=0.5, coherence=1)
    first = trajectory("115_1", "ab", instruction=words)
    second = trajectory("115_2", "axy", instruction=words, labels=better)
    return list(pairs_of_trajectories([first, second]))


def read(path: Path, **options: object) -> list[Record]:
    return list(read_data(path, **options))


def set_aside(path: Path, **options: object) -> tuple[list[Record], list[tuple[int | None, bytes]]]:
    bad: list[tuple[int | None, bytes]] = []

    def on_bad(error: DataError, raw: bytes) -> None:
        assert error.path == path
        assert str(error).startswith(str(path))
        bad.append((error.line, raw))

    return list(read_data(path, on_bad=on_bad, **options)), bad


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


BIG = b"x" * (lines.MAX_LINE_BYTES + 5)
"""More than a line may have."""
