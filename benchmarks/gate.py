"""Is HEAD slower than BASE? Twenty cells, timed side by side, in under three minutes.

    python benchmarks/gate.py BASE HEAD        # two commits; --cells PART of a name, --rounds N

The exit code is 0 where no cell is slower, 1 where those that are named are, and 2 where the gate
could not tell, which it then says. How: gating/judge.py.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).with_name("gating")))
    from judge import main

    sys.exit(main(__doc__))
