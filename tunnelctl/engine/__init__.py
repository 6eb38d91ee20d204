"""The event loop: runs coroutines as their descriptors become ready. It knows nothing of protocols; public names follow trio.

Import from its modules: `kernel` (run, Nursery, CancelScope, move_on_after, fail_after, sleep, checkpoint),
`descriptor` (Descriptor), `sync` (Event), `wakeup` (to_thread, open_signal_receiver), `resolver` (resolve).
"""
