"""What LLVM is asked for: vectors, words, atomics, and the CPU that is compiled for."""
