"""Platforms that an agent acts on, one a module."""
