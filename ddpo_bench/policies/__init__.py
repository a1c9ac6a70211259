"""Policies: diffusers pipelines, one family a file."""
