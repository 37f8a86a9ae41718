"""What the examples reach the outside world through: files, a database, mail and a picture describer.

Each is a small real part with the interface the patterns expect of Cloudflare's bindings (R2, D1, Workers AI), in
Python spelling. All of them are thread-safe, because plain step callbacks run in threads, and synchronous, because
that keeps the examples short. Nothing here knows about workflows; use these as a pattern for bindings of your own.
"""

from examples.bindings.bucket import BadKey, Bucket, NoSuchObject, ObjectSummary, StoredObject
from examples.bindings.database import Changes, Database, Statement
from examples.bindings.mail import Mailer, MailSink, ReceivedMail
from examples.bindings.source import flaky_source
from examples.bindings.vision import UnknownModel, Vision

__all__ = [
    "BadKey",
    "Bucket",
    "Changes",
    "Database",
    "Mailer",
    "MailSink",
    "NoSuchObject",
    "ObjectSummary",
    "ReceivedMail",
    "Statement",
    "StoredObject",
    "UnknownModel",
    "Vision",
    "flaky_source",
]
