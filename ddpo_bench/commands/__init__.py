"""The command line's verbs, one a file; they import what is heavy only when they are called."""
