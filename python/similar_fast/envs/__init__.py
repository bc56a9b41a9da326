"""Platforms that an agent acts on, one a module."""

from similar_fast.envs.miniwob import MiniWob
from similar_fast.envs.recorded import Recorded
from similar_fast.envs.replay import audit, replay

__all__ = ["MiniWob", "Recorded", "audit", "replay"]
