"""What a callback learns about itself."""

from __future__ import annotations

from workflows.authoring.context import StepName, idempotency_key

NAMES = (
    "charge",
    "charge card",
    "charge-card",
    "charge/card",
    "charge card~",
    "ch~",
    "x" * 53,
    "x" * 54,
    "x" * 256,
    "é",
    "",
)


def test_a_key_is_short_ascii_and_of_one_step_only() -> None:
    """Names are free text; a slash in one must not make it the key of another."""
    keys = {
        idempotency_key("w" * 64, "i" * 100, "0123456789ab", StepName(name, count)): (name, count)
        for name in NAMES
        for count in (1, 2, 25_000)
    }
    assert len(keys) == 3 * len(NAMES)
    assert all(key.isascii() and key.isprintable() and " " not in key and len(key) <= 255 for key in keys)
    assert idempotency_key("shop", "o-1", "g", StepName("charge", 2)) == "shop/o-1/g/do/charge/2"
    assert idempotency_key("shop", "o-1", "g", StepName("charge card", 1)).startswith("shop/o-1/g/do/charge-card~")
