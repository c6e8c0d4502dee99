import pytest

# They are no files of tests, and what they assert is to be shown as if they were.
pytest.register_assert_rewrite("faults.invariants", "faults.matrix")
