"""A mail server for trying the examples by hand: prints what arrives, delivers nothing.

``python -m examples.mail_sink`` listens on the loopback interface, at ``EXAMPLES_SMTP_PORT`` or 1025, where the
examples send their mail unless they are told otherwise.
"""

from __future__ import annotations

import contextlib
import os
import threading

from examples.bindings.mail import DEFAULT_PORT, MailSink, ReceivedMail


def show(mail: ReceivedMail) -> None:
    """One line for each mail."""
    print(f"{mail.to}\t{mail.subject}\t{mail.message_id}", flush=True)


if __name__ == "__main__":
    with MailSink(int(os.environ.get("EXAMPLES_SMTP_PORT", DEFAULT_PORT)), on_mail=show) as sink:
        print(f"Listening on 127.0.0.1:{sink.port}; stop with Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
