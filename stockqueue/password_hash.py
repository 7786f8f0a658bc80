"""How passwords are stored."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2(Argon2PasswordHasher):
    """Argon2id with 46 MiB, one pass and one thread, values from OWASP's Password Storage Cheat Sheet.

    A login waits for this check before anything else, so a hash that is hard to attack because of its memory is better
    than a hash that needs more processor time.
    """

    time_cost = 1
    memory_cost = 47_104  # KiB
    parallelism = 1
