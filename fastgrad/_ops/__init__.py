"""The public functions: arguments checked, the kernel called, results made."""
