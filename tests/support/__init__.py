"""What tests share. A test imports it as `from support import oracles`: pytest puts tests/ on the
path, and programs.environment does so for the processes that tests start.

oracles       the right results, to the bit: products, layers, losses, optimizer and training steps
edges         sizes at which the kernels change what they do
layouts       the same values in any memory layout; guarded: beside pages that may not be touched
draw          random sizes, values and layouts; small, blobs: small operands and data
watch         which kernels a call uses, and on which thread; slots puts others in their places
thread_cases  shapes that lead to every way through the kernels; on_all_threads runs them
control_word  rounding and flush-to-zero of a thread
fuzz          cases of the promises by number, made by fuzz_case
fuzz_readers  files that are damaged, made by damaged_files
digest        a fixed set of cases, for whatever CPU numba compiles for
accuracy      errors of the elementary functions: sweep and points say where, exact what is right,
              applied runs the kernels
assembly      instructions of kernels, and what they call
mutants       kernels that are wrong on purpose
compiled      functions of users, under @njit; user_module: those that numba caches
without_jit   calls under NUMBA_DISABLE_JIT
wrong_calls   calls that are refused, with the words of it; two_paths: calls in random memory
programs      starts processes; stress runs those of tests/process for hours
netlib, pytorch   operands and samples of the tests of others
printed       what examples say that they print
commands      tables that are trained by the command line; lookalikes: files as people have them

Some are programs too: PYTHONPATH=tests python -m support.digest
"""
