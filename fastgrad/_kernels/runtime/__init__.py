"""What kernels live in: the table, compiling and the disk cache, scratch, threads."""
