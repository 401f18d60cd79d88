"""Elementary functions and activations: f(ops, x), once for LLVM and for numpy."""
