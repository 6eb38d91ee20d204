"""Peers that the tests start: real programs, a scripted proxy, plain targets, and tunnelctl itself as a process.

Each starter is a context manager: the program listens on a free loopback port, is ready when the body starts, and is ended
by its process ID, whatever happens in the body. If a test fails, its log is shown.
"""
