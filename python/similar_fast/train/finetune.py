"""Stage 0: the backbone learns to tell good steps from bad ones, before its states are frozen.

The loss is the squared error of the five labels plus the Bradley-Terry loss of pairs, within a
state and between endings of one episode, both through linear heads without an intercept: the same
form that stage 1 fits afterwards, so that what is learnt here is where it will be looked for.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from similar_fast.dimensions import DIMENSIONS
from similar_fast.train.backbones import TorchBackbone
from similar_fast.train.data import PairSettings, TrainingSet, compare
from similar_fast.train.renaming import Renamer

__all__ = ["FinetuneSettings", "finetune"]


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """How a backbone is fine-tuned."""

    epochs: float = 3.0
    learning_rate: float = 1.5e-4
    head_rate: float = 1e-3
    warmup: float = 0.06
    weight_decay: float = 0.01
    batch_states: int = 12
    max_actions: int = 12
    states_an_episode: int = 4
    rename: float = 0.7
    pair_weight: float = 1.0
    bfloat16: bool = False
    seed: int = 0
    freeze_words: bool = True
