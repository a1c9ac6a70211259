"""The addresses of the server, one subject a file; each file has a `router`."""
