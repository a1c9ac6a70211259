"""What can be known of a plan before it is run: what is wrong with it, and what it will cost."""
