"""Files on disk: run folders, claims on them, atomic writes, the record of a run, the ledger of all runs."""
