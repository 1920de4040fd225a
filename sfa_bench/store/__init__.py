"""What is on the disk: run folders, claims on them, atomic files, the record of a run, the ledger of all runs."""
