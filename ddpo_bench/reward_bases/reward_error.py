"""What is raised where a reward fails."""

from __future__ import annotations


class RewardError(Exception):
    """A reward that cannot be loaded or judge a prompt, or that returned something else than one number an image."""
