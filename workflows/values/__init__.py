"""What users hand over: checked, and as bytes."""
