"""What is wrong with a run, by its own metrics: rules, and the findings that they give (docs/diagnosis.md)."""
