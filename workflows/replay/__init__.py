"""``run`` over a journal: values in, a decision out, no I/O."""
