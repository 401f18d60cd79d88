"""Which path a product takes: the thresholds.

Each was chosen by ``python benchmarks/sweeps/settings.py NAME``, which compares it with others.
"""

# Panels are as wide as one tile for all of 5 to 8 rows if C has so many vectors or more.
ONE_TILE_VECTORS = 8

# Packing pays when B is read by more rows than this and the product is larger than that.
DIRECT_ROWS = 12
DIRECT_FMAS = 1 << 20
# So does packing A where it is read by more micro-panels of B than this: where it lies along m, or
# along k.
DIRECT_PANELS = 2
DIRECT_ROW_PANELS = 8
# Or where one step of k is so far from the next that each is a page of its own.
FAR_BYTES = 1024
# Columns of B that are packed at a time where C is written row by row.
GROUP_COLUMNS = 1024

# Steps of k packed at a time: a line stays in L1 for all the micro-panels it is part of.
PACK_K = 32

# Products of a stack with this many fused multiply-adds or fewer go from matrix to matrix in one
# compiled loop, with no kernel called between them, ...
STACK_FMAS = 1 << 15
# ... so many bytes of C at a time where they have more columns than a tile, or B lies along k.
STACK_BYTES = 1 << 15
# What such a product takes beside its multiply-adds, in ns; a stack of this many ns on one thread
# is shared.
STACK_NS = 4
STACK_FORK_NS = 5_000
# What the backward of a layer of a stack takes beside them.
STACK_LAYER_NS = 60
# Of an activation's values behind such products: a cautious speed.
FORMULA_BYTES_PER_NS = 4

# Blocks with this many steps of k or fewer are written row by row: C, not A and B, is the work.
OUTER_K = 64

# A tile with this many steps of k or more fetches its C on the way: with fewer it has no time to.
FETCH_K = 8

# Several threads pay from this many fused multiply-adds (float32; half as many in float64).
FORK_FMAS = 1 << 19
# So they do from this many bytes of all three matrices, where moving these is the work.
FORK_BYTES = 3 << 17
# A cautious speed of one thread, float32: what the pool is told about the length of a job.
FMAS_PER_NS = 32

# Blocks of k go to several threads where C is not larger than this.
SPLIT_K_BYTES = 1 << 16

# Products with this many rows or fewer stream B past; those with this many columns stream A, ...
FEW_ROWS = 8
# (so many columns, half of it in float64, where A lies along k and is to be transposed first)
GATHER_ROWS = 8
# ... if B has this many elements (for one row; A, for few columns).
FEW_ROWS_ELEMENTS = 1 << 15
ROW_ELEMENTS = 1 << 13
FEW_COLUMNS_ELEMENTS = 1 << 11
# Bytes of all rows of C in a run, or columns of it at least.
RUN_BYTES = 1 << 14
RUN_COLUMNS = 256
# Steps of k that all rows go through before the next ones, so that B is read from L1 again.
PIECE_K = 16
# One row streams B past, and fetches it so many bytes ahead; in runs of less than four times
# that, the next steps.
ROW_AHEAD = 512
# An operand that lies along k is transposed in pieces of this many columns and steps: rows long
# enough for the prefetcher, pieces small enough for L1.
GATHER_COLUMNS = 64
GATHER_K = 64
# Columns of B along k that lie a multiple of this apart fall on the same places of L1: one group of
# them at a time, if more than so many lanes make two too many. Long ones from beyond L2 likewise,
# and they are fetched so many bytes ahead.
CROWD_BYTES = 1 << 12
CROWD = 8
FAR_BYTES_OF_ROW = 1 << 13
FAR_AHEAD = 768
# Products whose A lies along m and whose rows of C have so many bytes are turned if A has so many
# elements more than B for each of C; so many bytes of C at a time.
TURN_ROW = 400
TURN_READS = 3
TURN_BYTES = 1 << 16
# A stream this long, at a cautious speed, is worth another thread; columns of a task are a
# multiple of this.
FEW_ROWS_FORK_NS = 5_000
BYTES_PER_NS = 10
FEW_ROWS_COLUMNS = 64

# dX and dW of fewer fused multiply-adds each (float32) go side by side, a thread each.
PAIR_FMAS = 1 << 22
# With fewer inputs, forming H is the work, and both products read all of it: one thread does that.
LEAST_INPUTS = 12
# So it is with so few outputs, fewer inputs than these and too many rows for a pair.
FEW_OUTPUTS = 64
FEW_INPUTS = 20
# A training step of fewer rows than this goes product by product. Others, where tables have room,
# are tried on one thread, so many steps, and in two joins, some more, for a worker has to wake.
JOINED_ROWS = 16
TRIALS = 8
JOINED_TRIALS = 32
# A join of workers that spin (benchmarks/compare/forkjoin.py), and a cache line that another core
# wrote, at best (benchmarks/sweeps/steps.py), in ns. What cannot pay even so is not tried.
JOIN_NS = 1_000
LINE_NS = 5
# How many blocks of k a thread has buffers for at a time.
RING_OF_A_THREAD = 4

# C is cut into this many parts a thread; from so many fused multiply-adds (float32) into more,
# which even out what threads differ by.
PARTS_OF_A_THREAD = 1
MORE_PARTS_FMAS = 1 << 27
MORE_PARTS_OF_A_THREAD = 2
# A stack of products, into so many tasks a thread.
TASKS_OF_A_THREAD = 4
