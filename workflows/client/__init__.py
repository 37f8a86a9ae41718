"""Asking for what instances should do, and reading what they did: requests, and clients that block or await."""

from workflows.client.blocking import Client, LazySteps, WorkflowHandle, WorkflowInstance, send

__all__ = ["Client", "LazySteps", "WorkflowHandle", "WorkflowInstance", "send"]
