"""The engine's tests. Each runs on epoll and on poll; `tools` has what they share."""
