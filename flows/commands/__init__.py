"""The commands of `groundup`, a file for each group. Heavy imports stay inside the functions that need them."""
