import sys

# Where pytest is at work, an `assert` in the test bed shows its values when it fails, as one in a test does.
if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite("tests.testbed")
