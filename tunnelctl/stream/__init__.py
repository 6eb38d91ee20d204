"""Streams over the engine (socket, stdio), dialling, and the relay: the one place that moves tunnel bytes."""
