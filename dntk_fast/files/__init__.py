"""What is kept on disk: digests, tensors, checkpoints, and the finished stages of a run."""
