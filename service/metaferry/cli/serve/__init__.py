"""`metaferry serve`: a schedule, each run in a process of its own, and HTTP for who asks how it goes."""
