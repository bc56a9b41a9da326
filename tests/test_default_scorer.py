"""The scorer that an installed distribution offers, and the models of similar-fast-mini."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from similar_fast import RewardModel, Scores, Search, Step
from similar_fast.default_scorer import find_default_scorer, open_default_scorer, origin_of
from similar_fast.errors import ModelError
from similar_fast.models.shipped import shipped_model

STEP = Step("Log in", (), "click button 'Log in'")


class Length:
    """A scorer of this file, as a distribution would name it."""

    def score(self, steps: Sequence[Step]) -> Scores:
        return Scores(np.array([len(step.action) for step in steps], np.float32))


@pytest.fixture
def no_offers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An otherwise empty place to install distributions into."""
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    return tmp_path


def install(folder: Path, name: str, value: str) -> None:
    """A distribution's metadata, as pip leaves it."""
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[similar_fast.scorers]\ndefault = {value}\n")


def test_search_without_a_scorer_takes_the_one_that_is_offered(no_offers: Path) -> None:
    install(no_offers, "some-scorer", f"{__name__}:Length")

    search = Search(num_simulations=1)

    assert isinstance(search._scorer, Length)
    assert origin_of(find_default_scorer()) == "some-scorer 1.2"


def test_search_with_a_scorer_looks_for_none(no_offers: Path) -> None:
    scorer = Length()

    assert Search(scorer)._scorer is scorer


@pytest.mark.usefixtures("no_offers")
def test_search_without_any_scorer_says_what_to_install() -> None:
    with pytest.raises(ModelError, match="pip install similar-fast-mini`, or pass a scorer"):
        Search()


def test_two_offers_are_refused_by_name(no_offers: Path) -> None:
    install(no_offers, "some-scorer", f"{__name__}:Length")
    install(no_offers, "another", f"{__name__}:Length")

    with pytest.raises(ModelError, match=r"2 packages offer .*\(another 1.2, some-scorer 1.2\)"):
        open_default_scorer()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:Scorer", "no_such_module:Scorer of some-scorer 1.2 cannot be loaded: No"),
        (f"{__name__}:Missing", "cannot be loaded: .*Missing"),
        ("builtins:dict", "made a dict; expected an object with `score`"),
    ],
)
def test_offer_that_is_no_scorer_is_a_model_error(
    no_offers: Path, value: str, message: str
) -> None:
    install(no_offers, "some-scorer", value)

    with pytest.raises(ModelError, match=message):
        open_default_scorer()


def test_reward_model_without_a_folder_is_the_one_that_is_shipped(
    shipped_reward: Path,
) -> None:
    expected = RewardModel(shipped_reward, providers="cpu").score([STEP]).total

    shipped = RewardModel(providers="cpu")
    pretrained = RewardModel.from_pretrained(providers="cpu")

    assert shipped_model("reward").resolve() == shipped_reward.resolve()
    assert shipped.score([STEP]).total == expected
    assert pretrained.manifest == shipped.manifest


def test_package_without_the_model_says_so(
    shipped_folder: Callable[..., Path],
) -> None:
    shipped_folder()

    with pytest.raises(ModelError, match="has no folder reward; `pip install --upgrade"):
        RewardModel()
