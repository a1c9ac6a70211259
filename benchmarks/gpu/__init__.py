"""What `make gpu` runs: promises and speed on a GPU, in parts that do not depend on each other."""
