"""Hyperparameter studies: an equal number of trials for every cell of a suite, then a sweep of the winners."""
