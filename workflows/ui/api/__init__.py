"""What programs see: a function per address, from a ``Context`` to a value or an answer."""
