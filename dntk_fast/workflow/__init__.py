"""A run from its configuration to its report: data, networks, training, stages, and what joins them."""
