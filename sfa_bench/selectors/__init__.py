"""Who is clean? Each selector answers, at the start of an epoch, for one network (algorithms/README.md §2)."""
