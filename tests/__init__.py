"""The tests, in folders that mirror the package; peers/ holds what they start."""
