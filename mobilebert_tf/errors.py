"""The one exception for what the user can mend: doors print it as one line and exit with code 2."""


class InputError(Exception):
    """Bad input: the text says what is wrong, where, and what to do about it."""
