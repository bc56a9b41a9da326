"""Score and search the next action of a GUI agent.

What is listed in `__all__` is the public surface; everything else may change.
"""

from similar_fast import errors
from similar_fast._core import __version__
from similar_fast.batching import BatchingScorer
from similar_fast.dimensions import Dimension
from similar_fast.embedding import EmbeddingScorer
from similar_fast.metrics import accuracy
from similar_fast.reward.model import RewardModel
from similar_fast.search.pool import SearchPool
from similar_fast.search.search import Search
from similar_fast.srm.evaluate.run import evaluate
from similar_fast.tree.adaptive import AdaptiveSearch
from similar_fast.tree.endings import rerank
from similar_fast.tree.explain import explain
from similar_fast.tree.explanation import Explanation
from similar_fast.tree.search import TreeSearch
from similar_fast.tree.settings import TreeSettings
from similar_fast.types import Score, Scores, SearchResult, Step

__all__ = [
    "AdaptiveSearch",
    "BatchingScorer",
    "Dimension",
    "EmbeddingScorer",
    "Explanation",
    "RewardModel",
    "Score",
    "Scores",
    "Search",
    "SearchPool",
    "SearchResult",
    "Step",
    "TreeSearch",
    "TreeSettings",
    "__version__",
    "accuracy",
    "errors",
    "evaluate",
    "explain",
    "rerank",
]
