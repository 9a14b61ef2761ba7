"""What the kernel is for: what a network would say without some of its data, how sure it is, how usual an input is."""
