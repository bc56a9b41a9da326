"""A language model behind an OpenAI-compatible server, as a judge and as a proposer."""

from similar_fast.llm.client import ChatClient
from similar_fast.llm.judge import LlmJudge
from similar_fast.llm.proposer import OpenAIProposer
from similar_fast.llm.usage import Prices, Usage

__all__ = ["ChatClient", "LlmJudge", "OpenAIProposer", "Prices", "Usage"]
