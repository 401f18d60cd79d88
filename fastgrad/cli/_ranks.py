"""The ranks of ``mpiexec -n N fastgrad train --mpi``: arguments in, those who train out.

Rank 0 alone prints, reads and writes models; an error is everybody's, and its line rank 0's.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from .._mlp.team import Alone, Team
from ._errors import UsageError


@contextmanager
def team(args: argparse.Namespace) -> Iterator[Team]:
    if not args.mpi:
        yield Alone()
        return
    if args.block_rows is None:
        raise UsageError(
            "--mpi needs --block-rows N, which decides the bits, whatever the number of ranks; "
            f"--batch-size is {args.batch_size}: divide it by the ranks"
        )
    try:
        from mpi4py import MPI

        from .._mlp.ranks import Ranks
    except ImportError as error:
        raise UsageError(f"--mpi: {error}; pip install 'fastgrad[mpi]'") from None
    ranks = Ranks("fastgrad train", MPI.COMM_WORLD)
    if ranks.rank == 0:
        with ranks:
            yield ranks
        return
    with open(os.devnull, "w") as nothing, redirect_stdout(nothing):
        try:
            with ranks:
                yield ranks
        except (UsageError, MemoryError):
            raise SystemExit(2) from None  # rank 0 says why
