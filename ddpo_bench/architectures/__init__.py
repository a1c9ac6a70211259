"""Public models by the configurations of their networks, without weights."""
