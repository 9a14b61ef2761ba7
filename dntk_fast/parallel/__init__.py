"""The same work in several processes under torchrun."""
