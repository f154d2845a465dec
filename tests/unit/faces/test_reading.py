"""Every format in, every broken file refused with a sentence."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.faces.reading import OversizedPhoto, expand, load_photo, read_photo

WIDTH, HEIGHT = 48, 32


@pytest.fixture
def scene() -> PIL.Image.Image:
    """Four colours, one a quarter: red, green / blue, dark."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:16, :24] = (220, 20, 20)
    pixels[:16, 24:] = (20, 200, 20)
    pixels[16:, :24] = (20, 20, 220)
    pixels[16:, 24:] = (60, 60, 60)
    return PIL.Image.fromarray(pixels)


def close(image: np.ndarray, scene: PIL.Image.Image, tolerance: float = 12) -> bool:
    expected = np.asarray(scene, np.float32)
    return image.shape == expected.shape and image.dtype == np.uint8 and float(np.abs(image - expected).mean()) < tolerance


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "ppm", "gif", "heic"])
def test_reads_every_format(tmp_path: Path, scene: PIL.Image.Image, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    if suffix == "heic":
        pytest.importorskip("pillow_heif").from_pillow(scene).save(file, quality=95)
    else:
        scene.save(file)
    assert close(read_photo(file), scene)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, scene: PIL.Image.Image, orientation: int, suffix: str) -> None:
    T = PIL.Image.Transpose
    # What a camera held that way would have stored: the inverse of what the viewer must do.
    stored = {
        1: None, 2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM,
        5: T.TRANSPOSE, 6: T.ROTATE_90, 7: T.TRANSVERSE, 8: T.ROTATE_270,
    }[orientation]  # fmt: skip
    picture = scene if stored is None else scene.transpose(stored)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / f"a.{suffix}", exif=exif)
    assert close(read_photo(tmp_path / f"a.{suffix}"), scene)


def test_heic_is_turned_once(tmp_path: Path, scene: PIL.Image.Image) -> None:
    heif = pytest.importorskip("pillow_heif")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    heif.from_pillow(scene.transpose(PIL.Image.Transpose.ROTATE_90)).save(tmp_path / "a.heic", exif=exif.tobytes(), quality=95)
    assert read_photo(tmp_path / "a.heic").shape[2] == 3


def test_heic_without_its_package_says_what_to_install(tmp_path: Path, scene: PIL.Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_heif").from_pillow(scene).save(tmp_path / "a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserInputError, match="pip install pillow-heif"):
        read_photo(tmp_path / "a.heic")


def test_cmyk_jpeg(tmp_path: Path, scene: PIL.Image.Image) -> None:
    scene.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert close(read_photo(tmp_path / "a.jpg"), scene, 20)


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    PIL.Image.fromarray(ramp).save(tmp_path / "a.png")
    image = read_photo(tmp_path / "a.png")
    assert image[0, 0, 0] == 0
    assert image[-1, -1, 2] == 255
    assert abs(int(image[32, 0, 1]) - 128) <= 1


def test_transparent_is_white(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:, 16:] = (10, 20, 30, 255)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_photo(tmp_path / "a.png")
    assert tuple(image[5, 5]) == (255, 255, 255)
    assert tuple(image[5, 20]) == (10, 20, 30)


def test_palette_and_grey(tmp_path: Path, scene: PIL.Image.Image) -> None:
    scene.quantize(8).save(tmp_path / "p.png")
    scene.convert("L").save(tmp_path / "l.png")
    assert close(read_photo(tmp_path / "p.png"), scene)
    assert read_photo(tmp_path / "l.png").shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_an_animation(tmp_path: Path, scene: PIL.Image.Image, suffix: str) -> None:
    other = PIL.Image.new("RGB", scene.size, (255, 255, 255))
    scene.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[other], duration=100)
    assert close(read_photo(tmp_path / f"a.{suffix}"), scene)


def test_icc_profile_is_applied(tmp_path: Path) -> None:
    from PIL import ImageCms

    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    PIL.Image.new("RGB", (32, 32), (200, 100, 50)).save(tmp_path / "a.png", icc_profile=lab)
    PIL.Image.new("RGB", (32, 32), (200, 100, 50)).save(tmp_path / "b.png", icc_profile=b"not a profile")
    assert tuple(read_photo(tmp_path / "b.png")[0, 0]) == (200, 100, 50)
    assert read_photo(tmp_path / "a.png").shape == (32, 32, 3)


def test_large_jpeg_is_decoded_smaller(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (1600, 1200), (90, 90, 90)).save(tmp_path / "a.jpg")
    photo = load_photo(tmp_path / "a.jpg", enough=400)
    assert photo.reduced
    assert photo.image.shape == (300, 400, 3)
    assert not load_photo(tmp_path / "a.jpg").reduced


def _huge_png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def test_bomb_is_refused_before_decoding(tmp_path: Path, scene: PIL.Image.Image) -> None:
    (tmp_path / "bomb.png").write_bytes(_huge_png())
    with pytest.raises(OversizedPhoto):
        read_photo(tmp_path / "bomb.png")
    scene.save(tmp_path / "a.png")
    with pytest.raises(OversizedPhoto, match="48 x 32"):
        read_photo(tmp_path / "a.png", max_pixels=1000)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello, this is a letter", b"\xff\xd8\xff\xe0junk", b"\x00\x00\x00\x18ftypheic" + b"\0" * 40, b"%!PS-Adobe-3.0 EPSF-3.0\n"],
)
def test_what_is_no_photo_is_said_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(FileFormatError, match=r"'a\.jpg' is .*\."):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_truncated(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    file = tmp_path / f"a.{suffix}"
    PIL.Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(FileFormatError):
        read_photo(file)


def test_expand(tmp_path: Path) -> None:
    for name in ("10.jpg", "2.jpg", "1.PNG", ".hidden.jpg", "notes.txt", "sub/3.webp", ".git/4.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in expand([tmp_path])] == ["1.PNG", "2.jpg", "10.jpg", "3.webp"]
    named = [tmp_path / "notes.txt", tmp_path / "2.jpg"]
    assert expand([*named, named[1]]) == named
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserInputError, match="no photos"):
        expand([tmp_path / "empty"])
    with pytest.raises(UserInputError, match="no file or folder"):
        expand([tmp_path / "missing"])


@pytest.mark.parametrize("head", [b"\x00\x00\x00\x18ftypmp42", b"\x1aE\xdf\xa3\x01\x00", b"RIFF\x00\x00\x00\x00AVI LIST"])
def test_a_video_is_called_one(tmp_path, head):
    file = tmp_path / "film.jpg"
    file.write_bytes(head + bytes(2000))
    with pytest.raises(FileFormatError, match="is a video"):
        read_photo(file)


@pytest.mark.parametrize(("name", "data"), [("a.NEF", b"II*\0\x08\0\0\0"), ("a.cr3", b"\0\0\0\x18ftypcrx "), ("renamed.jpg", b"\0\0\0\x18ftypcrx ")])
def test_raw_data_of_a_camera_is_called_so(tmp_path, name, data):
    file = tmp_path / name
    file.write_bytes(data + bytes(2000))
    with pytest.raises(FileFormatError, match="raw data"):
        read_photo(file)


def test_avif_without_its_reader_is_no_video(tmp_path, monkeypatch):
    PIL.Image.init()
    monkeypatch.delitem(PIL.Image.OPEN, "AVIF", raising=False)
    file = tmp_path / "a.avif"
    file.write_bytes(b"\0\0\0\x1cftypavif" + bytes(2000))
    with pytest.raises(FileFormatError, match="AVIF photo, which the Pillow installed here cannot read"):
        read_photo(file)


def test_a_png_of_sixty_thousand_square_is_not_decoded(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    file = tmp_path / "huge.png"
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))
    with pytest.raises(OversizedPhoto, match="Make it smaller"):
        read_photo(file)
