"""Reading labelled pairs back, by the form of the file: 20,000 of them."""

from pathlib import Path

import pytest
from published_forms import preference_csv
from pytest_benchmark.fixture import BenchmarkFixture
from similar_fast.dimensions import Dimension
from similar_fast.records import PairRecord
from similar_fast.srm.readers import read_data
from similar_fast.srm.writers import write_data

N = 20_000


def labelled_pairs(count: int) -> list[PairRecord]:
    history = tuple(f"click [{place}]link 'Reports'" for place in range(4))
    return [
        PairRecord(
            environment="webarena",
            task=str(i % 100),
            type=(Dimension.HELPFULNESS, Dimension.TOTAL)[i % 2],
            instruction=f"Show me the name of the customers of shop {i % 100}",
            history=history,
            observation=f"{i:024x}",
            chosen=(f"click [{i}]link 'Products'",),
            rejected=(f"type [{i}] [Chloe tank] [1]",),
            chosen_label=1.0,
            rejected_label=0.5,
            chosen_trajectory=f"{i % 100}_1",
            rejected_trajectory=f"{i % 100}_2",
            step=5,
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("num_pairs", [N])
@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.xz", "pairs.parquet", "webarena.csv"])
def test_bench_read(benchmark: BenchmarkFixture, name: str, num_pairs: int, tmp_path: Path) -> None:
    pairs = labelled_pairs(1_000 if benchmark.disabled else num_pairs)
    path = tmp_path / name
    if path.suffix == ".csv":
        path.write_text(preference_csv(pairs), newline="")
    else:
        write_data(path, pairs)

    found = benchmark.pedantic(lambda: list(read_data(path)), rounds=5)

    assert len(found) == len(pairs)
    assert [pair.chosen for pair in found] == [pair.chosen for pair in pairs]  # type: ignore[union-attr]
