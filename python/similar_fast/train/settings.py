"""What a training run is made with."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from similar_fast.prompts.settings import PromptSettings
from similar_fast.train.backbones import BackboneSettings
from similar_fast.train.data import PairSettings
from similar_fast.train.finetune_settings import FinetuneSettings
from similar_fast.train.gate_settings import GateSettings

__all__ = ["ExportSettings", "TrainSettings"]


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """How the model is exported, see `similar-fast-export`.

    Attributes:
        dtype: How the weights of the last export are stored; features are computed in float32.
        prompt: How a step is put to the backbone, in training as in the exported model.
        lexical_prior: What the lexical overlap of a step counts in its task relevance, at least 0.
            It is added to what was trained; no stage sees it.
        license_id: SPDX identifier of the weights' licence.
        name: What the model is called.
    """

    dtype: Literal["fp32", "fp16", "int8", "int4"] = "fp32"
    prompt: PromptSettings = field(default_factory=PromptSettings)
    lexical_prior: float = 0.0
    license_id: str = "unknown"
    name: str = "similar"


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """One run of Triple-M.

    Attributes:
        finetune: Stage 0; None leaves the backbone as it is.
        gate: Stage 2; None leaves the total the plain sum of the dimensions (Similar-RL).
        pairs: Which labelled steps are compared.
        backbone: What of it stage 0 trains.
        export: How the model is exported.
        validation_tasks: Tasks that no stage sees, on which the model is measured.
        validation_share: Of the tasks, in [0, 1), drawn where `validation_tasks` names none; 0
            trains on all and measures nothing. Of one task alone, episodes are held out.
        feature_share: Of the states that are trained on, how many stages 1 and 2 see, in (0, 1].
            Their features take as long as a pass of the backbone over them.
        device: Where torch computes.
        shuffles_labels: Whether labels are shuffled within each task first: a control, which ends
            at chance.
        seed: Of everything that is drawn, at least 0.
        data: What the data is called, for the model's card.
    """

    finetune: FinetuneSettings | None = field(default_factory=FinetuneSettings)
    gate: GateSettings | None = field(default_factory=GateSettings)
    pairs: PairSettings = field(default_factory=PairSettings)
    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    export: ExportSettings = field(default_factory=ExportSettings)
    validation_tasks: tuple[str, ...] = ()
    validation_share: float = 0.2
    feature_share: float = 1.0
    device: str = "cpu"
    shuffles_labels: bool = False
    seed: int = 0
    data: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain
