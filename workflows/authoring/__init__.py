"""What users write workflows with: the app, the workflow class, ``step`` and what they hand to it."""
