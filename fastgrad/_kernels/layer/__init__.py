"""Backward, losses, optimizer steps and a whole training step."""
