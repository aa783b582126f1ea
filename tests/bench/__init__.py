"""Benchmarks, `make bench`: ratios within one run. Not tests: nothing here fails because it is slow."""
