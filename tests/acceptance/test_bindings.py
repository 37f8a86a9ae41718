"""Do the examples' bindings keep what their patterns lean on? Real files, SQLite, SMTP and HTTP."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError

import pytest
from PIL import Image, ImageDraw, ImageFont

import examples
from examples.bindings import (
    BadKey,
    Bucket,
    Database,
    Mailer,
    MailSink,
    NoSuchObject,
    ObjectSummary,
    UnknownModel,
    Vision,
    flaky_source,
)
from examples.bindings.mail import message_id_for
from examples.data_pipeline import fetch_json, normalize
from workflows import NonRetryableError

COUNTERS = "CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)"


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    """A bucket in a folder that does not exist yet."""
    return Bucket((tmp_path / "bucket").as_uri())


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with a table of counters."""
    with Database(tmp_path / "new folder" / "test.sqlite", schema=COUNTERS) as opened:
        yield opened


def png(colour: tuple[int, int, int] = (210, 40, 40), size: tuple[int, int] = (60, 30)) -> bytes:
    """A PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


# Bucket


def test_an_object_is_read_back_in_every_form(bucket: Bucket) -> None:
    """Bytes, text and JSON are views of the same content."""
    bucket.put("a/b.json", '{"name": "Zoë"}')
    read = bucket.get("a/b.json")
    assert read.bytes() == read.array_buffer() == '{"name": "Zoë"}'.encode()
    assert read.text() == '{"name": "Zoë"}'
    assert read.json() == {"name": "Zoë"}
    assert (read.key, read.size) == ("a/b.json", 16)


def test_a_put_replaces_the_whole_object(bucket: Bucket) -> None:
    """Nothing of a longer predecessor remains."""
    bucket.put("key", b"a long first version")
    bucket.put("key", b"short")
    assert bucket.get("key").bytes() == b"short"
    assert bucket.list() == [ObjectSummary("key", 5)]


def test_a_reader_never_sees_half_an_object(bucket: Bucket) -> None:
    """While threads replace an object, every read gets one of the versions, whole."""
    versions = [bytes([letter]) * 50_000 for letter in b"abcd"]
    bucket.put("key", versions[0])
    with ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(bucket.put, "key", versions[turn % 4]) for turn in range(60)]
        reads = [pool.submit(bucket.get, "key") for _ in range(60)]
        assert all(read.result().bytes() in versions for read in reads)
        assert all(write.result() for write in writes)
    assert [one.key for one in bucket.list()] == ["key"]


def test_a_listing_is_sorted_and_limited_to_its_prefix(bucket: Bucket) -> None:
    """Keys in order, with sizes, folders being nothing but part of a key."""
    for key in ("texts/2", "texts/1", "texts/deep/3", "other"):
        bucket.put(key, key)
    assert bucket.list("texts/") == [
        ObjectSummary("texts/1", 7),
        ObjectSummary("texts/2", 7),
        ObjectSummary("texts/deep/3", 12),
    ]
    assert len(bucket.list()) == 4


def test_an_empty_bucket_lists_nothing(bucket: Bucket) -> None:
    """Also before its folder exists."""
    assert bucket.list() == []


def test_a_missing_object_is_named_in_the_error(bucket: Bucket) -> None:
    """The error says which key, and carries it."""
    with pytest.raises(NoSuchObject, match=r'No object "gone\.png"') as caught:
        bucket.get("gone.png")
    assert caught.value.key == "gone.png"


def test_a_folder_is_not_an_object(bucket: Bucket) -> None:
    """The part of a key before a slash cannot be read."""
    bucket.put("a/b", b"")
    with pytest.raises(NoSuchObject):
        bucket.get("a")


def test_deleting_twice_is_harmless(bucket: Bucket) -> None:
    """A step that deletes may be tried again."""
    bucket.put("key", b"")
    bucket.delete("key")
    bucket.delete("key")
    with pytest.raises(NoSuchObject):
        bucket.get("key")


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../outside", "a/../../b", "a//b", "a/", ".", "a\\..\\b", "a\0b"])
def test_a_key_cannot_leave_the_bucket(bucket: Bucket, key: str) -> None:
    """Keys come from strangers."""
    for use in (bucket.get, bucket.delete, lambda key: bucket.put(key, b"")):
        with pytest.raises(BadKey):
            use(key)


def test_another_store_is_a_change_of_url() -> None:
    """The same calls work on an fsspec file system that is not the disk."""
    bucket = Bucket("memory://test-bindings")
    bucket.put("a/b", b"content")
    assert bucket.get("a/b").bytes() == b"content"
    assert bucket.list("a/") == [ObjectSummary("a/b", 7)]
    bucket.delete("a/b")
    assert bucket.list() == []
    with pytest.raises(NoSuchObject):
        bucket.get("a/b")


# Database


def test_first_is_a_row_by_column_name_or_none(database: Database) -> None:
    """And the values are bound, not pasted."""
    database.prepare("INSERT INTO counters VALUES (?, ?)").bind("it's", 3).run()
    select = database.prepare("SELECT * FROM counters WHERE name = ?")
    assert select.bind("it's").first() == {"name": "it's", "value": 3}
    assert select.bind("other").first() is None


def test_run_tells_how_many_rows_changed(database: Database) -> None:
    """Inserted, ignored, updated."""
    insert = database.prepare("INSERT OR IGNORE INTO counters VALUES (?, 0)")
    assert insert.bind("a").run().rows == 1
    assert insert.bind("a").run().rows == 0
    insert.bind("b").run()
    assert database.prepare("UPDATE counters SET value = 1").run().rows == 2


def test_a_batch_happens_whole_or_not_at_all(database: Database) -> None:
    """A failing statement takes those before it back."""
    insert = database.prepare("INSERT INTO counters VALUES (?, 0)")
    with pytest.raises(sqlite3.IntegrityError):
        database.batch([insert.bind("a"), insert.bind("b"), insert.bind("a")])
    assert database.prepare("SELECT * FROM counters").all() == []
    assert [changes.rows for changes in database.batch([insert.bind("a"), insert.bind("b")])] == [1, 1]


def test_an_unreadable_statement_leaves_no_transaction_open(database: Database) -> None:
    """The next batch works."""
    with pytest.raises(sqlite3.OperationalError):
        database.prepare("NOT SQL").run()
    database.prepare("INSERT INTO counters VALUES ('a', 0)").run()


def test_threads_share_a_database(database: Database) -> None:
    """No increment is lost and no thread is refused."""
    database.prepare("INSERT INTO counters VALUES ('hits', 0)").run()
    increment = database.prepare("UPDATE counters SET value = value + 1 WHERE name = 'hits'")
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(increment.run) for _ in range(80)]:
            done.result()
    assert database.prepare("SELECT value FROM counters").first() == {"value": 80}


COUNT_IN_A_PROCESS = """
import sys
from examples.bindings.database import Database
sys.stdin.readline()
with Database(sys.argv[1], schema=sys.argv[2]) as database:
    insert = database.prepare("INSERT OR IGNORE INTO counters VALUES ('hits', 0)")
    increment = database.prepare("UPDATE counters SET value = value + 1 WHERE name = 'hits'")
    for _ in range(25):
        database.batch([insert, increment])
"""


def test_processes_that_start_together_share_a_database(tmp_path: Path) -> None:
    """Nobody finds it locked: neither while it is created nor while it is written."""
    path = tmp_path / "shared.sqlite"
    command = [sys.executable, "-c", COUNT_IN_A_PROCESS, str(path), COUNTERS]
    root = str(Path(examples.__file__).parent.parent)
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, cwd=root) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()  # Go.
    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    with Database(path) as database:
        assert database.prepare("SELECT value FROM counters").first() == {"value": 100}


# Mail


def test_a_mail_arrives() -> None:
    """Over SMTP, with its subject and text."""
    with MailSink() as sink:
        message_id = Mailer(port=sink.port).send("ada@example.org", "Welcome – hello!", "First\nSecond", key="1")
        mail = sink.wait_for("ada@example.org", "Welcome – hello!")
    assert mail.body.splitlines() == ["First", "Second"]
    assert mail.message_id == message_id


def test_a_mail_sent_twice_with_one_key_is_kept_once() -> None:
    """The Message-ID is the same for every attempt of a step."""
    with MailSink() as sink:
        mailer = Mailer(port=sink.port)
        for key in ("welcome-1", "welcome-1", "welcome-2"):
            mailer.send("ada@example.org", "Welcome!", key=key)
        assert sink.deliveries == 3
        assert len(sink.mails) == 2


def test_mails_from_many_threads_all_arrive() -> None:
    """One connection for each, at once."""
    with MailSink() as sink, ThreadPoolExecutor(8) as pool:
        mailer = Mailer(port=sink.port)
        sent = [pool.submit(mailer.send, "a@example.org", f"Mail {n}", key=str(n)) for n in range(24)]
        assert {one.result() for one in sent} == {mail.message_id for mail in sink.mails}


def test_a_line_break_cannot_add_a_header() -> None:
    """Addresses and subjects come from strangers."""
    with MailSink() as sink, pytest.raises(ValueError):
        Mailer(port=sink.port).send("ada@example.org", "Welcome!\nBcc: all@example.org", key="1")


@pytest.mark.parametrize("key", ["", "two words", "<a@b>\r\nBcc: c@d", "é\ud800\0", "k" * 5_000])
def test_any_key_makes_a_valid_message_id(key: str) -> None:
    """Nothing in a key can break the header."""
    inner = message_id_for(key).removeprefix("<").removesuffix(">")
    assert inner.isascii() and inner.count("@") == 1 and not set(inner) & set("<> \r\n")


def test_without_a_server_the_error_says_what_to_do() -> None:
    """The address, and how to start a sink."""
    with MailSink() as sink:
        port = sink.port
    with pytest.raises(ConnectionError, match=rf"127\.0\.0\.1:{port}.*python -m examples\.mail_sink"):
        Mailer(port=port).send("ada@example.org", "Welcome!", key="1")


def test_a_taken_port_is_reported_where_the_sink_is_started() -> None:
    """Not in the sink's thread, where nobody looks."""
    with MailSink() as first, pytest.raises(OSError), MailSink(first.port):
        pass


def test_a_stopped_sink_leaves_no_thread() -> None:
    """Nothing goes on in the background."""
    with MailSink():
        pass
    assert "mail-sink" not in {thread.name for thread in threading.enumerate()}


# The web


def test_the_flaky_source_fails_first_and_then_serves() -> None:
    """As many times as asked, then JSON; anything but a web address is refused for good."""
    with flaky_source(items=2, failures=2) as url:
        for _ in range(2):
            with pytest.raises(HTTPError, match="503") as caught:
                fetch_json(url)
            caught.value.close()
        assert [normalize(item) for item in fetch_json(url)] == ["item number 0", "item number 1"]


def test_a_source_that_is_no_web_address_is_not_opened(tmp_path: Path) -> None:
    """A file on the worker's disk is none of the creator's business, and trying again would not help."""
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    with pytest.raises(NonRetryableError, match="is not an http or https address"):
        fetch_json(secret.as_uri())


# Vision


def test_a_picture_is_described_by_what_can_be_measured() -> None:
    """Shape, size and colour."""
    answer = Vision().run("pillow/describe", {"image": png(), "prompt": "Describe this image"})
    assert "landscape picture of 60 by 30 pixels, mostly red (100%)" in answer["description"]
    assert "little detail" in answer["description"]


def test_an_image_may_come_as_a_list_of_numbers() -> None:
    """As it does in Cloudflare's examples."""
    vision = Vision()
    assert vision.run("pillow/describe", {"image": list(png())}) == vision.run("pillow/describe", {"image": png()})


def test_the_answer_keeps_to_its_most_words() -> None:
    """max_tokens counts words."""
    answer = Vision().run("pillow/describe", {"image": png(), "max_tokens": 4})
    assert len(answer["description"].split()) == 4


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (30, 60), (40, 40)])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK"])
def test_every_kind_of_picture_is_described(size: tuple[int, int], mode: str) -> None:
    """From one pixel up, in every colour mode."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, "TIFF")
    assert "pixels" in Vision().run("pillow/describe", {"image": file.getvalue()})["description"]


def test_what_is_not_a_picture_is_refused() -> None:
    """With an error that says so."""
    with pytest.raises(ValueError, match="not a picture"):
        Vision().run("pillow/describe", {"image": b"hello"})
    with pytest.raises(ValueError, match='"image" is missing'):
        Vision().run("pillow/describe", {})


def test_a_picture_that_would_fill_the_memory_is_refused() -> None:
    """Before it is unpacked."""
    file = io.BytesIO()
    Image.new("1", (8_000, 6_000)).save(file, "PNG")
    with pytest.raises(ValueError, match="too large"):
        Vision().run("pillow/describe", {"image": file.getvalue()})


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    """So that the reader can correct the name."""
    with pytest.raises(UnknownModel, match="pillow/describe"):
        Vision().run("@cf/llava-hf/llava-1.5-7b-hf", {"image": png()})


def test_text_in_a_picture_is_read() -> None:
    """By the networks inside the rapidocr package, which is optional."""
    pytest.importorskip("rapidocr", reason="the optional packages rapidocr and onnxruntime are not installed")
    image = Image.new("RGB", (640, 160), "white")
    ImageDraw.Draw(image).text((40, 40), "Summer sale", fill="black", font=ImageFont.load_default(48))
    file = io.BytesIO()
    image.save(file, "PNG")
    assert Vision().run("rapidocr/read-text", {"image": file.getvalue()}) == {"description": "Summer sale"}
