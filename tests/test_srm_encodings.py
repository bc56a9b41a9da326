"""The encodings of published files."""

from pathlib import Path

import pytest
from published_forms import (
    preference_csv,
)
from similar_fast.errors import DataError
from similar_fast.srm.encodings import decode, detect_encoding
from srm_files import WORDS, read, sample_pairs, set_aside, write


@pytest.mark.parametrize("encoding", WORDS)
def test_the_preference_csv_is_read_in_each_encoding(encoding: str, tmp_path: Path) -> None:
    pairs = sample_pairs(WORDS[encoding])
    path = write(tmp_path / "webarena.csv", preference_csv(pairs).encode(encoding))

    found = read(path)

    assert {pair.instruction for pair in found} == {WORDS[encoding]}
    for ours, pair in zip(pairs, found, strict=True):
        assert (pair.type, pair.chosen, pair.rejected) == (ours.type, ours.chosen, ours.rejected)
        assert (pair.step, pair.history) == (ours.step, ours.history)
        assert (pair.chosen_label, pair.rejected_label) == (ours.chosen_label, ours.rejected_label)
        assert (pair.observation, pair.task) == (ours.observation, "115")
        assert (pair.environment, pair.platform) == ("webarena", "web")
        assert not pair.columns_swapped


@pytest.mark.parametrize("encoding", WORDS)
def test_an_encoding_is_detected(encoding: str) -> None:
    data = ("plain\n" + WORDS[encoding] + "\n").encode(encoding)

    assert detect_encoding(data) == encoding.removesuffix("-sig")


def test_plain_text_is_utf_8() -> None:
    assert detect_encoding(b"") == detect_encoding(b"plain\ntext") == "utf-8"


def test_accents_before_plain_letters_are_no_chinese() -> None:
    text = "détail élevage père"
    text.encode("iso-8859-1").decode("gbk")  # it could be read so

    assert detect_encoding(text.encode("iso-8859-1")) == "iso-8859-1"


def test_a_control_character_is_no_text() -> None:
    assert decode(b"caf\xe9", "iso-8859-1") == "café"
    with pytest.raises(UnicodeDecodeError):
        decode(b"it\x92s", "iso-8859-1")


@pytest.mark.parametrize("encoding", ["utf-8", "gb2312", "iso-8859-1"])
def test_a_row_in_another_encoding_is_set_aside(encoding: str, tmp_path: Path) -> None:
    rows = preference_csv(sample_pairs(WORDS[encoding])).encode(encoding).splitlines(keepends=True)
    starts = [i for i, line in enumerate(rows) if line.startswith(b"WebArena")]
    rows[starts[2]] = rows[starts[2]].replace(WORDS[encoding].encode(encoding), b"caf\x92\xff\x80")
    path = write(tmp_path / "webarena.csv", b"".join(rows))

    found, bad = set_aside(path)

    assert len(found) == len(starts) - 1
    assert [line for line, _ in bad] == [starts[2] + 1]
    assert b"\xff\x80" in bad[0][1]
    with pytest.raises(DataError, match=rf"webarena.csv:{starts[2] + 1}: no row: the byte 0x"):
        read(path)
