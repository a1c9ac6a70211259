"""`python -m ddpo_bench` is `ddpo-bench`."""

import sys

from ddpo_bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
