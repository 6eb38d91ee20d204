"""Tests of the engine. Each test runs on epoll, kqueue and poll; `tools` holds the shared helpers."""
