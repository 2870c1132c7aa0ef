"""One file for each conversion step; each names itself in `RECIPE`."""
