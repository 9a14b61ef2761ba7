"""What `dntk bench` measures: every figure with its interval, and the error beside it."""
