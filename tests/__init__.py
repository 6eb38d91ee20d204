"""The tests. Importing anything of them begins here; so does what the portable run takes away from Python: see `tests.portable`."""

from tests.portable import PORTABLE

if PORTABLE:
    from tests.portable.removal import take_away

    take_away()
