"""Images: truncated, huge, bombs, of a wrong mode or format, or no images at all."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from corpus import Case
from PIL import Image, PngImagePlugin

from labelrepair.data import SourceSpec, read_source
from labelrepair.data.images import decode_image
from labelrepair.data.input_format import InputFormat
from labelrepair.serving import encode

FORMATS = {
    "PNG": "png",
    "JPEG": "jpg",
    "BMP": "bmp",
    "GIF": "gif",
    "TIFF": "tif",
    "PPM": "ppm",
    "WEBP": "webp",
}
NAMED = ("'s02'", r"labels\.csv", "not a readable image")


def encoded(kind: str, size: int = 24, mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def manifest(folder: Path, third: bytes, suffix: str = "png", **options: object) -> SourceSpec:
    """Write four images, the third of which is ``third``, and their manifest."""
    lines = ["sample_id,path,label"]
    for row in range(4):
        name = f"{row}.{suffix}"
        (folder / name).write_bytes(third if row == 2 else encoded("PNG"))
        lines.append(f"s{row:02d},{name},{row % 2}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return SourceSpec("manifest", path=str(folder / "labels.csv"), **options)


def through_manifest(content: bytes, suffix: str = "png") -> Callable[[Path], object]:
    return lambda folder: read_source(manifest(folder, content, suffix))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, rows: int = 0) -> bytes:
    """Return a grey PNG that claims a size and holds ``rows`` rows of zeros, well compressed."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * ((width + 1) * rows), 9)
    chunks = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", body), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def huge() -> Iterator[tuple[str, bytes]]:
    """Small files that claim, or would unpack to, enormous pictures."""
    yield "png_claims_4e9_pixels", png_of(65_535, 65_535)
    yield "png_one_endless_row", png_of(2**31 - 1, 1)
    # Between the size at which Pillow warns and the one at which it refuses.
    yield "png_bomb_that_pillow_only_warns_of", png_of(11_000, 11_000, rows=11_000)
    bmp = bytearray(encoded("BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    yield "bmp_claims_4e9_pixels", bytes(bmp)
    gif = bytearray(encoded("GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    yield "gif_claims_4e9_pixels", bytes(gif)
    yield "ppm_claims_4e9_pixels", b"P6 65535 65535 255\n" + b"\0" * 100
    yield "pgm_claims_1e18_pixels", b"P5 999999999 999999999 255\n"
    jpeg = bytearray(encoded("JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    yield "jpeg_claims_4e9_pixels", bytes(jpeg)


def text_bomb() -> bytes:
    """Return a PNG whose compressed comment unpacks to 64 MB."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * 64_000_000, zip=True)
    return encoded("PNG", pnginfo=info)


def profile_bomb() -> bytes:
    """Return a PNG whose compressed colour profile unpacks to 64 MB."""
    plain = encoded("PNG")
    bomb = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 64_000_000, 9))
    return plain[:33] + bomb + plain[33:]


def cases() -> Iterator[Case]:
    for kind, suffix in FORMATS.items():
        whole = encoded(kind)
        # A GIF or TIFF may be whole before its last bytes.
        for share in (0.02, 0.2, 0.5, 0.8):
            cut = whole[: int(share * len(whole))]
            yield Case(f"{suffix}_cut_at_{share}", through_manifest(cut, suffix), NAMED)
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        broken = bytearray(encoded(kind))
        broken[: len(broken) // 3] = bytes(len(broken) // 3)
        yield Case(f"{kind}_zeroed_head", through_manifest(bytes(broken)), NAMED)
    for name, content in huge():
        yield Case(name, through_manifest(content), NAMED)
    for name, bomb in (("text", text_bomb()), ("profile", profile_bomb())):
        yield Case(f"png_{name}_bomb", through_manifest(bomb), NAMED)
    for name, content in {
        "empty": b"",
        "text": b"not a picture",
        "html": b"<!doctype html><html>404</html>",
        "git_lfs_pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "zip": b"PK\x03\x04" + bytes(40),
        "pickle": b"\x80\x04K\x01.",
        "npy": b"\x93NUMPY\x01\x00" + bytes(40),
        "pdf": b"%PDF-1.4\n%%EOF",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        # Pillow would hand this one to Ghostscript.
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        "icon": encoded("ICO"),
        "zeros": bytes(4096),
    }.items():
        yield Case(f"{name}_named_png", through_manifest(content), NAMED)
    yield from wrong_modes()
    yield from in_columns()
    yield from served()


def wrong_modes() -> Iterator[Case]:
    for mode, kind in (("I;16", "PNG"), ("I;16", "TIFF"), ("I", "TIFF"), ("F", "TIFF")):
        stream = io.BytesIO()
        Image.new(mode, (24, 24)).save(stream, kind)
        said = ("'s02'", f"mode {mode[:1]}", "8 bits per channel")
        name = f"{kind}_of_mode_{mode}".replace(";", "")
        yield Case(name, through_manifest(stream.getvalue()), said)
    for name, content in deep():
        yield Case(name, through_manifest(content), ("'s02'", "8 bits per channel"))
    for size in (1, 23, 25):
        said = ("'s02'", f"image is {size}x{size}, .*'s00' is 24x24", "set image_size")
        yield Case(f"size_{size}", through_manifest(encoded("PNG", size)), said)


def deep(value: int = 255, size: int = 24) -> Iterator[tuple[str, bytes]]:
    """Pictures of 16 bits per channel, of which Pillow would keep the upper 8."""
    for name, kind, channels in (("LA", 4, 2), ("RGB", 2, 3), ("RGBA", 6, 4)):
        header = struct.pack(">IIBBBBB", size, size, 16, kind, 0, 0, 0)
        row = b"\0" + struct.pack(">H", value) * channels * size
        body = zlib.compress(row * size)
        chunks = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", body), png_chunk(b"IEND", b""))
        yield f"png_of_16_bits_{name}", b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    samples = struct.pack(">H", value) * 3 * size * size
    yield "tiff_of_16_bits_RGB", _tiff(samples, size)
    yield "ppm_of_16_bits", b"P6 %d %d 65535\n" % (size, size) + samples
    yield "ppm_of_9_bits", b"P6 %d %d 511\n" % (size, size) + samples
    yield "plain_ppm_of_16_bits", b"P3 %d %d 65535\n" % (size, size) + b"255 " * (3 * size * size)
    # The header alone: that many bits of each of three channels.
    jpeg2000 = bytearray(encoded("JPEG2000", size))
    at = jpeg2000.index(b"\xff\x4f\xff\x51") + 4 + 38
    jpeg2000[at : at + 9 : 3] = bytes([15] * 3)
    yield "jpeg2000_of_16_bits_RGB", bytes(jpeg2000)


def _tiff(samples: bytes, size: int) -> bytes:
    """Return an uncompressed big-endian TIFF of three channels of 16 bits."""
    start = 8 + 2 + 12 * 9 + 4 + 6
    tags = ((256, size), (257, size), (258, start - 6), (259, 1), (262, 2), (273, start), (277, 3))
    tags += ((278, size), (279, len(samples)))
    entries = [struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags]
    entries[2] = struct.pack(">HHII", 258, 3, 3, start - 6)  # three numbers, which lie elsewhere
    directory = struct.pack(">H", len(tags)) + b"".join(entries) + bytes(4)
    return b"MM\0*" + struct.pack(">I", 8) + directory + struct.pack(">HHH", 16, 16, 16) + samples


def in_columns() -> Iterator[Case]:
    """Images inside a Parquet file."""
    import pandas as pd  # noqa: PLC0415

    def read(value: object) -> Callable[[Path], object]:
        def inner(folder: Path) -> object:
            images = [encoded("PNG"), value, encoded("PNG")]
            frame = pd.DataFrame({"sample_id": ["a", "b", "c"], "label": [0, 1, 0]})
            frame["image"] = pd.Series(images, dtype=object)
            frame.to_parquet(folder / "m.parquet")
            path = str(folder / "m.parquet")
            return read_source(SourceSpec("manifest", path=path, image_column="image"))

        return inner

    for name, value, said in (
        ("none", None, "no encoded image bytes"),
        ("empty", b"", "not a readable image"),
        ("cut", encoded("PNG")[:60], "not a readable image"),
        ("16_bit", (_save("I;16")), "8 bits per channel"),
        ("other_size", encoded("PNG", 5), "image is 5x5"),
    ):
        yield Case(f"parquet_image_{name}", read(value), (r"m\.parquet", "'b'", said))


def _save(mode: str) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (24, 24)).save(stream, "PNG")
    return stream.getvalue()


def served() -> Iterator[Case]:
    """What a served model is sent."""
    spec = InputFormat("image", (1, 8, 8))
    good = encoded("PNG", 8, "L")
    bad: dict[str, tuple[object, str]] = {
        "none": (None, "no image"),
        "number": (3, "no image"),
        "not_base64": ("%%%", "base64"),
        "not_ascii": ("bild\N{LATIN SMALL LETTER U WITH DIAERESIS}", "base64"),
        "base64_of_nothing": ("", "not a readable image"),
        "cut": (good[:30], "not a readable image"),
        "bomb": (png_of(11_000, 11_000, 11_000), "not a readable image"),
        "float_array": (np.zeros((8, 8)), "whole numbers"),
        "negative_array": (np.full((8, 8), -1), "whole numbers"),
        "wide_array": (np.full((8, 8), 256), "whole numbers"),
        "ragged_list": ([[1, 2], [3]], "ragged"),
        "strings": ([["a"]], "whole numbers"),
        "five_axes": (np.zeros((1, 1, 8, 8, 1), np.uint8), "shape"),
        "other_size": (encoded("PNG", 9, "L"), "9x9"),
        "dict_without_bytes": ({"path": "/etc/passwd"}, "no image"),
        "pickle": (b"\x80\x04K\x01.", "not a readable image"),
    }
    for name, (value, said) in bad.items():
        yield Case(f"served_{name}", _serve([good, value], spec), ("row 1", said))
    for suffix in ("", "x" * 10_000):
        path = "/nonexistent" + suffix
        read = lambda _folder, path=path: decode_image(path, "RGB", None, "here")  # noqa: E731
        yield Case(f"no_such_file_{len(suffix)}", read, ("^here: not a readable image",))


def _serve(values: list[object], spec: InputFormat) -> Callable[[Path], object]:
    return lambda _folder: encode(values, spec)
