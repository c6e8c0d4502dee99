"""To come: what was written, for people to look at (check, export, report)."""
