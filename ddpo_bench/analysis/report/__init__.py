"""The report: one HTML page, its sections, and what is written next to it."""
