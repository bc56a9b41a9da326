"""A step -> the texts and tokens that a model reads."""

from similar_fast.prompts.messages import SYSTEM_TEXT, ChatMessage, Layout, chat_messages
from similar_fast.prompts.parts import FittedText, fit_tokens, passage_parts, query_parts
from similar_fast.prompts.writer import Prompt, PromptWriter

__all__ = [
    "SYSTEM_TEXT",
    "ChatMessage",
    "FittedText",
    "Layout",
    "Prompt",
    "PromptWriter",
    "chat_messages",
    "fit_tokens",
    "passage_parts",
    "query_parts",
]
