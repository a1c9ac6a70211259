"""Reads results folders: which runs there are, what each has written, and the plan that they belong to."""
