"""Tests of the engine. Each test runs on epoll and on poll; `tools` holds the shared helpers."""
