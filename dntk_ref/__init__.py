"""float64 NumPy/SciPy reference of every theorem-level quantity: obvious, slow, close to the page."""
