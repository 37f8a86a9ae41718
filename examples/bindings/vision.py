"""Describes pictures, in the shape of a Workers AI binding: ``run(model, {"image": ..., "max_tokens": ...})``.

No language model is behind it, on purpose: the examples run without a network, a key or a download of weights.

- ``pillow/describe`` measures the picture with Pillow (size, shape, brightness, main colours, amount of detail) and
  puts the figures into a sentence. It sees what can be computed from pixels and does not recognise objects.
- ``rapidocr/read-text`` reads the text in the picture with the neural networks inside the ``rapidocr`` wheel. They run
  on the CPU with ``onnxruntime``. The extra ``vision`` installs both, with all they need 360 MB.

``prompt`` is accepted, so that a call reads as it would with a language model behind it, and has no effect.
"""

from __future__ import annotations

import functools
import io
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image, ImageFilter, ImageStat, UnidentifiedImageError

# Larger pictures are refused before they are unpacked: a small file can hold a picture that fills the memory.
PIXELS_MAX = 40_000_000
DEFAULT_TOKENS_MAX = 50
# Colours and edges are measured on a copy no larger than this, so that the time does not grow with the picture.
_MEASURED_PIXELS = (128, 128)

_COLOURS = {
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "white": (255, 255, 255),
    "red": (210, 40, 40),
    "orange": (245, 150, 40),
    "yellow": (245, 225, 60),
    "green": (50, 150, 60),
    "turquoise": (60, 200, 190),
    "sky blue": (130, 195, 240),
    "blue": (40, 80, 200),
    "purple": (130, 60, 170),
    "pink": (245, 150, 190),
    "brown": (120, 75, 40),
    "beige": (225, 205, 170),
}


class UnknownModel(LookupError):
    """No model of this name is installed."""


class Vision:
    """Runs a model on a picture. Thread-safe."""

    def run(self, model: str, inputs: Mapping[str, Any]) -> dict[str, str]:
        """Describe one picture.

        Args:
            model: one of the names in this module's description.
            inputs: ``image`` (the bytes of a PNG, JPEG, ... or a list of them as numbers), optionally ``prompt`` and
                ``max_tokens`` (the most words in the answer, 50 when not given).
        Returns: ``{"description": ...}``.
        Raises:
            UnknownModel: there is no such model, or its packages are not installed.
            ValueError: ``image`` is missing, is not a picture, or has more than 40 million pixels.
        """
        describe = _MODELS.get(model)
        if describe is None:
            raise UnknownModel(f'No model "{model}"; there is {", ".join(sorted(_MODELS))}')
        if "image" not in inputs:
            raise ValueError('The input "image" is missing')
        words = describe(_open(bytes(inputs["image"]))).split()
        return {"description": " ".join(words[: int(inputs.get("max_tokens", DEFAULT_TOKENS_MAX))])}


def _open(content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:
        raise ValueError(f"These {len(content)} bytes are not a picture in a format that Pillow reads") from error
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    if image.width * image.height > PIXELS_MAX:
        raise ValueError(f"A picture of {image.width} x {image.height} pixels is too large; the limit is {PIXELS_MAX}")
    return image.convert("RGB")


def _describe_with_pillow(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail(_MEASURED_PIXELS)
    grey = small.convert("L")
    brightness = ImageStat.Stat(grey).mean[0] / 255
    detail = ImageStat.Stat(grey.filter(ImageFilter.FIND_EDGES)).mean[0] / 255
    main = _main_colours(small)
    colours = " and ".join(f"{name} ({share:.0%})" for name, share in main)
    return (
        f"A {_word(brightness, ('dark', 0.33), ('medium-bright', 0.66), ('bright', 2.0))} "
        f"{_shape(image)} picture of {image.width} by {image.height} pixels, mostly {colours}, "
        f"with {_word(detail, ('little', 0.04), ('some', 0.12), ('much', 2.0))} detail."
    )


def _main_colours(image: Image.Image) -> list[tuple[str, float]]:
    """The two most frequent plain colours and their shares of the picture, from 0 to 1."""
    counted: Counter[str] = Counter()
    data = image.tobytes()
    for at in range(0, len(data), 3):
        counted[_nearest_colour((data[at], data[at + 1], data[at + 2]))] += 1
    total = image.width * image.height
    return [(name, count / total) for name, count in counted.most_common(2)]


@functools.lru_cache(maxsize=65_536)
def _nearest_colour(pixel: tuple[int, int, int]) -> str:
    return min(_COLOURS, key=lambda name: sum((one - two) ** 2 for one, two in zip(_COLOURS[name], pixel, strict=True)))


def _shape(image: Image.Image) -> str:
    ratio = image.width / image.height
    return "landscape" if ratio > 1.1 else "portrait" if ratio < 0.9 else "square"


def _word(value: float, *below: tuple[str, float]) -> str:
    return next(word for word, limit in below if value < limit)


_reader_lock = threading.Lock()


@functools.cache
def _text_reader() -> Callable[[Any], Any]:
    """Loads the networks once for each process: about a second and 400 MB of memory."""
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise UnknownModel(
            'The model "rapidocr/read-text" needs two more packages: pip install rapidocr onnxruntime'
        ) from error
    reader: Callable[[Any], Any] = RapidOCR()
    logging.getLogger("RapidOCR").setLevel(logging.WARNING)
    return reader


def _read_text(image: Image.Image) -> str:
    # The networks keep state between their stages, so one picture at a time.
    with _reader_lock:
        found = _text_reader()(image)
    return " ".join(found.txts or ()) or "No text."


_MODELS: dict[str, Callable[[Image.Image], str]] = {
    "pillow/describe": _describe_with_pillow,
    "rapidocr/read-text": _read_text,
}
