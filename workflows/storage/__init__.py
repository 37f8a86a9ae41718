"""What stands in Redis: keys, records, journals and the scripts that every side uses; and the one door to it."""
