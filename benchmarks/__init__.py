"""How fast the server is, beside what a user would pick instead. `python -m benchmarks --help`."""
