"""From run folders to tables: reads records only and imports no training code."""
