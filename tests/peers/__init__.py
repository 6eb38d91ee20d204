"""What the tests start: real programs, a scripted proxy, plain targets, and tunnelctl itself as a process.

Each starter is a context manager: it listens on loopback on a port that was free, is ready when the body starts, and is
ended by its process id, whatever happens in the body. Its log is shown when a test fails.
"""
