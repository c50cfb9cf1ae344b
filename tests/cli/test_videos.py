"""Videos from the command line: each frame answered as the same picture in a folder, and bad files refused."""

from __future__ import annotations

import importlib
import json
import struct
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from support import cells
from support.scenes import CLASSES, COLOURS, scene

import dougong
from dougong.cli.app import execute
from dougong.cli.picturing import Pictures
from dougong.data import videos
from dougong.data.videos import Film, frames, is_video, open_video
from dougong.errors import UserError
from dougong.report.boxes import drawn as drawn_on
from dougong.tasks.image_classification import ImageClassification
from dougong.tasks.object_detection import ObjectDetection
from dougong.tasks.semantic_segmentation import SemanticSegmentation

SIZE, COUNT, RATE = (48, 64), 11, Fraction(25, 2)
SEGFORMER = {"architecture": "segformer", "layers": [1, 1], "widths": [8, 16], "n_heads": [1, 2], "reductions": [2, 1],
             "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2], "d_head": 16}  # fmt: skip
DETECTOR = {"architecture": "dab_detr", "layers": [1, 1], "width": 4, "n_levels": 2, "d_model": 16, "n_layers": 1,
            "n_heads": 2, "d_ff": 16, "n_queries": 8, "n_noised": 1}  # fmt: skip
HALF = ((0.5,) * 3, (0.25,) * 3)


def film(file: Path, pictures: list[np.ndarray], codec: str = "ffv1", kind: str = "bgr0", **options: str) -> Path:
    """A video of pictures uint8 (h, w, 3), without loss unless another codec is named."""
    with av.open(str(file), "w", options=options) as into:
        stream = into.add_stream(codec, rate=RATE)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = kind
        for each in pictures:
            into.mux(stream.encode(av.VideoFrame.from_ndarray(each, format="rgb24")))
        into.mux(stream.encode(None))
    return file


def drive(count: int = COUNT) -> list[np.ndarray]:
    return [scene(number, SIZE)[0] for number in range(count)]


def moving_cells(count: int = COUNT) -> list[np.ndarray]:
    return [np.asarray(cells.picture(number)[0]) for number in range(count)]


def folder_of(place: Path, pictures: list[np.ndarray]) -> Path:
    place.mkdir()
    for number, each in enumerate(pictures, 1):
        Image.fromarray(each).save(place / f"{number:06d}.png")
    return place


def model(place: Path, config: dict[str, Any], task: Any) -> str:
    torch.manual_seed(5)
    built = dougong.build({**config, "n_classes": len(task.classes)})
    for name, values in built.named_parameters():
        if name.endswith("classes.bias"):  # a detector that has learnt nothing finds nothing
            torch.nn.init.zeros_(values)
    dougong.save(built, place)
    (place / "task.json").write_text(json.dumps(task.describe()))
    return str(place)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    task = ObjectDetection(cells.NAMES, SIZE, *HALF)
    return model(tmp_path_factory.mktemp("cells"), {**DETECTOR, "image_size": list(SIZE)}, task)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> str:
    task = SemanticSegmentation(CLASSES[:3], SIZE, *HALF, colours=COLOURS[:3])
    return model(tmp_path_factory.mktemp("street"), SEGFORMER, task)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    size = {"image_size": list(SIZE), "patch_size": 8, "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 16}
    task = ImageClassification(("round", "long"), SIZE, *HALF)
    return model(tmp_path_factory.mktemp("kinds"), {"architecture": "vit", **size}, task)


def coco(file: Path) -> tuple[list[Any], list[Any]]:
    content = json.loads(file.read_text())
    return content["images"], content["annotations"]


def corners(box: list[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def test_boxes_of_a_video_are_those_of_its_frames(detector: str, tmp_path: Path, capsys: Any) -> None:
    pictures = moving_cells()
    clip, folder = film(tmp_path / "clip.mkv", pictures), folder_of(tmp_path / "frames", pictures)
    for name, source in (("video", clip), ("folder", folder)):
        out = ["--out", str(tmp_path / f"{name}.json"), "--draw", str(tmp_path / name), "--batch-size", "4"]
        assert execute(["predict", detector, str(source), "--threshold", "0.05", *out]) == 0, capsys.readouterr()
    (images, boxes), (others, expected) = coco(tmp_path / "video.json"), coco(tmp_path / "folder.json")
    assert len(images) == COUNT and len(boxes) > COUNT and boxes == expected
    assert [each["file_name"] for each in images] == [f"{clip}:{number}" for number in range(1, COUNT + 1)]
    assert [(each["video"], each["frame"]) for each in images] == [(str(clip), n + 1) for n in range(COUNT)]
    assert "frame" not in others[0]
    drawn = sorted((tmp_path / "video").glob("*.png"))
    assert [each.name for each in drawn] == [f"clip-{number:06d}.png" for number in range(1, COUNT + 1)]
    for ours, theirs in zip(drawn, sorted((tmp_path / "folder").glob("*.png")), strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
    made = open_video(tmp_path / "video" / "clip.mp4")  # and the drawn video, of the same rate and size
    assert (made.rate, made.size, made.count) == (RATE, SIZE, COUNT)
    expected_frames = []
    for number, picture in enumerate(pictures, 1):
        found = [
            {"label": cells.NAMES[each["category_id"] - 1], "score": each["score"], "box": corners(each["bbox"])}
            for each in boxes
            if each["image_id"] == number
        ]
        expected_frames.append(drawn_on(picture, found, cells.NAMES).astype(int))
    shown = [frame.raw.astype(int) for frame in frames(made)]
    apart = np.array([[np.abs(one - other).mean() for other in expected_frames] for one in shown])
    assert (apart.argmin(1) == np.arange(COUNT)).all()  # each of its frames is that drawing and no other
    assert not (tmp_path / "folder" / "clip.mp4").exists()
    # the control: another video's boxes are others
    other = film(tmp_path / "other.mkv", pictures[::-1])
    assert execute(["predict", detector, str(other), "--threshold", "0.05", "--out", str(tmp_path / "c.json")]) == 0
    assert coco(tmp_path / "c.json")[1] != expected


def test_masks_of_a_video_are_those_of_its_frames(segmenter: str, tmp_path: Path, capsys: Any) -> None:
    pictures = drive()
    clip = film(tmp_path / "drive.avi", pictures, "png", "rgb24")
    folder = folder_of(tmp_path / "frames", pictures)
    for name, source in (("video", clip), ("folder", folder)):
        assert execute(["predict", segmenter, str(source), "--out", str(tmp_path / name)]) == 0, capsys.readouterr()
    ours, theirs = (sorted((tmp_path / name / "masks").iterdir()) for name in ("video", "folder"))
    assert [each.name for each in ours] == [f"drive-{number:06d}.png" for number in range(1, COUNT + 1)]
    assert [each.read_bytes() for each in ours] == [each.read_bytes() for each in theirs]
    assert len({each.read_bytes() for each in ours}) == COUNT  # the control: no two are alike
    made = open_video(tmp_path / "video" / "drawn" / "drive.mp4")
    assert (made.rate, made.size, made.count) == (RATE, SIZE, COUNT)
    for frame, picture in zip(frames(made), sorted((tmp_path / "video" / "drawn").glob("*.jpg")), strict=True):
        assert np.abs(frame.raw.astype(int) - np.asarray(Image.open(picture))).mean() < 8


def test_classes_of_every_third_frame(classifier: str, tmp_path: Path, capsys: Any) -> None:
    pictures = drive()
    clip = film(tmp_path / "drive.mov", pictures, "rawvideo", "rgb24")
    folder = folder_of(tmp_path / "frames", pictures[::3])
    found = []
    for words in ([str(clip), "--every", "3"], [str(folder)]):
        assert execute(["predict", classifier, *words, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["predictions"])
    assert [row["where"] for row in found[0]] == [f"{clip}:{number}" for number in (1, 4, 7, 10)]
    assert [row["top"] for row in found[0]] == [row["top"] for row in found[1]]
    assert len({row["probability"] for row in found[0]}) == 4
    answers = list(dougong.predict(classifier, str(clip)))  # and in Python
    assert [answer.where for answer in answers[::3]] == [row["where"] for row in found[0]] and len(answers) == COUNT
    assert execute(["predict", classifier, str(folder), "--every", "3"]) == 2
    assert "there is none among INPUTS" in capsys.readouterr().err


def test_no_more_than_a_batch_is_held(classifier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, taken, answered = film(tmp_path / "drive.mkv", drive(40)), 0, 0
    real = videos._upright

    def counting(frame: Any) -> Any:
        nonlocal taken
        taken += 1
        return real(frame)

    asked = Pictures([str(clip)], keep=True)
    assert asked.total == 40
    monkeypatch.setattr(videos, "_upright", counting)
    for answer in dougong.predict(classifier, asked, batch_size=4):
        answered += 1
        assert taken <= answered + 4
        assert asked.row_of(answer).where == answer.where and len(asked._held) < 4
    assert answered == taken == 40


@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [
        ("a.mp4", "libx264", "yuv420p"), ("a.webm", "libvpx-vp9", "yuv420p"), ("a.gif", "gif", "rgb8"),
        ("a.MOV", "rawvideo", "rgb24"), ("a.avi", "mpeg4", "yuv420p"), ("a.mkv", "ffv1", "bgr0"),
    ],
)  # fmt: skip
def test_usual_files_are_read(name: str, codec: str, kind: str, tmp_path: Path) -> None:
    clip = film(tmp_path / name, drive(), codec, kind)
    video = open_video(clip)
    assert is_video(clip) and (video.size, video.count) == (SIZE, COUNT) and abs(float(video.rate - RATE)) < 0.1
    read = list(frames(video))
    assert [frame.number for frame in read] == list(range(1, COUNT + 1))
    apart = [np.abs(frame.raw.astype(int) - picture).mean() for frame, picture in zip(read, drive(), strict=True)]
    assert max(apart) < (40 if codec == "gif" else 20) and (codec not in ("ffv1", "rawvideo") or max(apart) == 0)


def test_a_still_gif_is_a_picture(classifier: str, tmp_path: Path, capsys: Any) -> None:
    Image.fromarray(drive(1)[0]).save(tmp_path / "still.gif")
    assert not is_video(tmp_path / "still.gif")
    assert execute(["predict", classifier, str(tmp_path / "still.gif"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"][0]["where"] == str(tmp_path / "still.gif")


def test_a_phones_video_is_turned_upright(tmp_path: Path) -> None:
    """The matrix of QuickTime's track header, x' = ax + cy and y' = bx + dy: a turn clockwise carries top to right."""
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[:10] = 255
    clip = film(tmp_path / "a.mp4", [picture] * 3, "libx264", "yuv420p")
    one, content = 1 << 16, clip.read_bytes()
    plain = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, one, 0, -one, 0, 0, SIZE[0] * one, 0, 1 << 30)
    place = content.index(plain, content.index(b"tkhd"))
    clip.write_bytes(content[:place] + turned + content[place + len(plain) :])
    assert open_video(clip).size == SIZE[::-1]
    seen = next(frames(clip)).raw
    assert seen.shape == (64, 48, 3) and seen[:, -9:].mean() > 250 and seen[:, :-12].mean() < 5


def broken(place: Path, kind: str) -> Path:
    file = place / f"{kind}.mp4"
    if kind == "noise":
        file.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "empty":
        file.touch()
    elif kind == "cut before its index":
        film(file, drive(), "libx264", "yuv420p")
        file.write_bytes(file.read_bytes()[:4000])
    else:
        with av.open(str(file), "w") as into:
            stream = into.add_stream("aac", rate=44100)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), format="fltp", layout="mono")
            sound.rate = 44100
            into.mux([*stream.encode(sound), *stream.encode(None)])
    return file


@pytest.mark.parametrize("kind", ["noise", "empty", "cut before its index", "sound alone"])
def test_what_is_no_video_gets_one_line(kind: str, detector: str, segmenter: str, tmp_path: Path, capsys: Any) -> None:
    said = {"empty": "is empty (0 bytes)", "sound alone": "holds no pictures"}.get(kind, "is no video that can be read")
    clip, good = broken(tmp_path, kind), film(tmp_path / "good.mkv", drive(2))
    for words in (
        [detector, str(good), str(clip), "--draw", str(tmp_path / "drawn"), "--out", str(tmp_path / "a.json")],
        [segmenter, str(good), str(clip), "--out", str(tmp_path / "masks")],
    ):
        assert execute(["predict", *words]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and f"{kind}.mp4: {said}" in lines[0], lines
    assert {each.name for each in tmp_path.iterdir()} == {f"{kind}.mp4", "good.mkv"}


@pytest.mark.parametrize(("name", "codec", "kind"), [("a.mkv", "ffv1", "bgr0"), ("a.mp4", "libx264", "yuv420p")])
def test_what_can_be_read_of_a_cut_video_is_kept(
    name: str, codec: str, kind: str, classifier: str, tmp_path: Path, capsys: Any
) -> None:
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    clip, out = film(tmp_path / name, drive(60), codec, kind, **options), tmp_path / "a.jsonl"
    assert execute(["predict", classifier, str(clip), "--out", str(out)]) == 0
    whole, said = out.read_text().splitlines(), capsys.readouterr().err
    assert len(whole) == 60 and "cut off" not in said
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert execute(["predict", classifier, str(clip), "--out", str(out)]) == 0
    kept, said = out.read_text().splitlines(), capsys.readouterr().err
    assert 15 < len(kept) < 45 and f"{len(kept)}{' of the 60' * (name == 'a.mp4')} frames could be read" in said
    assert kept[: len(kept) - 2] == whole[: len(kept) - 2]  # the last may be patched up


def test_without_pyav_a_line_says_what_to_install(
    detector: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = film(tmp_path / "clip.mkv", drive(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError):
        importlib.import_module("av")
    assert execute(["predict", detector, str(clip), "--draw", str(tmp_path / "drawn")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and 'pip install "dougong[video]"' in lines[0] and not (tmp_path / "drawn").exists()
    Image.fromarray(drive(1)[0]).save(tmp_path / "one.png")
    assert execute(["predict", detector, str(tmp_path / "one.png")]) == 0  # pictures need it not


def test_a_folder_of_videos_says_so(classifier: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "clips").mkdir()
    film(tmp_path / "clips" / "a.mkv", drive(2))
    assert execute(["predict", classifier, str(tmp_path / "clips")]) == 2
    assert "holds no picture; name the videos in it" in capsys.readouterr().err


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_a_written_film_is_what_was_drawn(size: tuple[int, int], tmp_path: Path, monkeypatch: Any) -> None:
    greys = [20 * number for number in range(10)]

    def write(file: Path) -> list[float]:
        into = Film(file, Fraction(30000, 1001), size)
        for grey in greys:
            into.add(np.full((*size, 3), grey, np.uint8))
        into.close()
        video = open_video(file)
        assert (video.size, video.count, video.rate) == (size, 10, Fraction(30000, 1001))
        return [float(frame.raw.mean()) for frame in frames(video)]

    assert np.abs(np.array(write(tmp_path / "a.mp4")) - greys).max() < 3
    if size[0] % 2 == 0:
        monkeypatch.setattr(videos, "ENCODERS", ("none such", "mpeg4"))
        assert np.abs(np.array(write(tmp_path / "b.mp4")) - greys).max() < 4


def test_no_such_video(tmp_path: Path) -> None:
    check: Callable[..., Any] = lambda: next(frames(tmp_path / "none.mp4"))  # noqa: E731
    with pytest.raises(UserError, match="no such file"):
        check()
