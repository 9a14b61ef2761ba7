"""The distilled neural tangent kernel on torch and array-API arrays."""
