"""Forge and reForge: A1111's pages and API around another engine. What is the same lives in ``hosts/a1111``."""
