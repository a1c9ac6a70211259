"""Measurements that are run from a checkout."""
