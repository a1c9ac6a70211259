"""Throughput of a configuration on this machine: images and transitions a second, memory, and FLOP utilisation."""
