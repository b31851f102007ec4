"""One evaluation from pairs to a report: numbers, resuming, processes, and what must not happen silently."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from pocold.data.opening import open_data
from pocold.densepose.maps import DensePose
from pocold.diffusion.settings import DrawSettings
from pocold.evaluation import metrics
from pocold.evaluation.baselines import CopySource, ModelPainter, RoundTrip, WarpSource
from pocold.evaluation.drawing import check_names, picture_name
from pocold.evaluation.evaluate import EvaluationConfig, evaluate
from pocold.evaluation.measuring import WeightFiles
from pocold.evaluation.protocols import fit
from pocold.evaluation.report import compare, markdown, read_report, summary
from pocold.evaluation.selection import Selection
from pocold.evaluation.sheet import choose_cases, ranking_metric
from pocold.imaging.images import to_tensor
from pocold.imaging.metadata import read_png_metadata
from pocold.people.rendering.surface import CLASS_ID


@pytest.fixture(scope="module")
def weights(weight_files):
    return WeightFiles(
        weight_files / "st_lpips.pth",
        weight_files / "torchvision.pth",
        (weight_files / "alexnet.pth", weight_files / "alex.pth"),
    )


@pytest.fixture
def run(people, weights, tmp_path):
    """Evaluate on the synthetic people; keywords go to the configuration."""

    def run(painter, out="out", data=None, **config):
        offline = WeightFiles(st_lpips=weights.st_lpips)
        config = EvaluationConfig(**{"weights": offline, "device": "cpu", "real_limit": 4, **config})
        root = data or people
        opened = open_data(root, "test", on_error="raise" if data is None else "skip")
        return evaluate(painter, opened, tmp_path / out, config, real=lambda: open_data(people, "train"), name="it")

    return run


class Truth:
    """Draws the truth itself."""

    size, synthetic = None, False

    def settings(self):
        return {"painter": "truth"}

    def __call__(self, pairs, size, frame):
        return [target.photo for _, target in pairs]


def values(report):
    return {name: (entry["value"], entry["count"]) for name, entry in report["metrics"].items()}


def test_the_truth_is_perfect_and_infinity_is_written_as_text(run, tmp_path):
    report = run(Truth())
    found = {name: value for name, (value, _) in values(report).items()}
    assert found["l1"] == found["st_lpips"] == found["colour_top"] == 0
    assert found["ssim_gaussian_1.5"] == 1
    assert found["psnr"] == "inf"
    assert read_report(tmp_path / "out") == report
    assert report["data"]["evaluated"] == 12
    assert report["data"]["skipped"] == {}


def test_every_number_of_a_baseline_is_that_of_its_formula(run, people, weights):
    report = run(CopySource())
    selection = Selection(open_data(people, "test"))
    views = [selection.views(pair) for pair in selection.pairs]
    pictures = [(to_tensor(source.photo), to_tensor(target.photo)) for source, target in views]
    found = values(report)
    assert found["l1"] == (math.fsum(float(metrics.l1(a, b)) for a, b in pictures) / 12, 12)
    assert found["psnr"][0] == pytest.approx(np.mean([float(metrics.psnr(a, b)) for a, b in pictures]))
    tops = [
        float(metrics.colour_error(a, b, torch.from_numpy(target.garments == CLASS_ID["top"])[None]))
        for (a, b), (_, target) in zip(pictures, views, strict=True)
    ]
    tops = [value for value in tops if not math.isnan(value)]
    if tops:
        assert found["colour_top"] == (pytest.approx(np.mean(tops)), len(tops))
    assert found["fd_stlpips"][1] == 12
    assert report["real"]["pictures"] == 4
    assert report["real"]["listed"] == 30
    assert report["weights"].keys() == {"st_lpips.pth"}


@pytest.mark.parametrize("name", ["pocold", "pidm", "cfld", "pcdms"])
def test_published_protocols_run_with_their_files(name, run, weights, tmp_path):
    fid = name == "pocold"  # the slow one; all four share it
    without = () if fid else ("fid",)
    report = run(CopySource(), protocol=name, weights=weights, limit=2, real_limit=2, without=without)
    assert report["drawn size"] == report["protocol"]["size"] == [256, 176]
    lpips = "lpips_unit_range" if name == "pcdms" else "lpips"
    sigma = "1.2" if name in ("pidm", "pcdms") else "1.5"
    names = ["l1", "psnr", "ssim_51", f"ssim_gaussian_{sigma}", lpips, *(["fid_torchvision"] if fid else [])]
    assert list(report["metrics"]) == names
    assert report["weights"].keys() == {"alexnet.pth", "alex.pth", *(["torchvision.pth"] if fid else [])}
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Only 2 pairs, evenly spread" in text
    assert ("fid_torchvision sees 2048 features of 2 drawn and 2 real pictures" in text) == fid
    assert ("Left out on request: fid" in text) != fid


def test_the_range_of_lpips_matters(run, weights):
    only = {"weights": weights, "limit": 2, "without": ("fid",)}
    signed = run(CopySource(), "a", protocol="cfld", **only)["metrics"]["lpips"]["value"]
    unit = run(CopySource(), "b", protocol="pcdms", **only)["metrics"]["lpips_unit_range"]["value"]
    assert unit < 0.8 * signed


def test_pidm_takes_ssim_at_the_drawn_size(run, weights, people):
    only = {"weights": weights, "limit": 2, "without": ("fid",)}
    drawn = run(CopySource((64, 56)), "a", protocol="pidm", **only)
    at_size = run(CopySource((64, 56)), "b", protocol="pcdms", **only)
    assert drawn["protocol"]["ssim, psnr and l1 at"] == [64, 56]
    assert at_size["protocol"]["ssim, psnr and l1 at"] == [256, 176]
    selection = Selection(open_data(people, "test"), 2)
    for report, size, how in ((drawn, (64, 56), "pillow-bicubic"), (at_size, (256, 176), "cv2-cubic")):
        pictures = CopySource()([selection.views(pair) for pair in selection.pairs], (64, 56), "stretch")
        truths = [selection.views(pair)[1].photo for pair in selection.pairs]
        errors = [metrics.l1(fit(p, size, how), fit(t, size, how)) for p, t in zip(pictures, truths, strict=True)]
        assert report["metrics"]["l1"]["value"] == pytest.approx(float(sum(errors)) / 2, rel=1e-12)


@pytest.mark.slow
def test_ours_adds_fid_where_its_weights_are_named(run, weights, weight_files):
    files = WeightFiles(weights.st_lpips, weight_files / "pytorch-fid.pth")
    report = run(CopySource(), weights=files, limit=2, real_limit=2)
    assert "fid" in report["metrics"]
    with pytest.raises(ValueError, match="1000 classes, so it is of torchvision"):
        run(CopySource(), "other", weights=weights, limit=2)


def test_the_market_protocol_has_a_mask(run, weights):
    report = run(CopySource(), protocol="pocold", size=(128, 64), weights=weights, limit=2, without=("fid",))
    assert 0 < report["metrics"]["mask_lpips"]["value"] < report["metrics"]["lpips"]["value"]
    assert report["left out"] == ["fid"]


def test_missing_weights_are_told_before_anything_is_drawn(run, tmp_path, monkeypatch):
    monkeypatch.delenv("POCOLD_FID_WEIGHTS", raising=False)
    with pytest.raises(ValueError, match=r"LPIPS needs two weight files.*--lpips-weights"):
        run(CopySource(), protocol="pocold")
    with pytest.raises(ValueError, match=r"inception_v3_google-0cc3c7bd\.pth.*--inception-weights"):
        run(CopySource(), protocol="pocold", without=("lpips",))
    with pytest.raises(ValueError, match="--without: unknown ssim; expected some of fid, lpips"):
        run(CopySource(), without=("ssim",))
    assert not (tmp_path / "out").exists()


def test_frechet_distances_need_real_pictures(people, weights, tmp_path):
    config = EvaluationConfig(weights=WeightFiles(weights.st_lpips), device="cpu", limit=2)
    with pytest.raises(ValueError, match="Frechet distances need real pictures: name a folder with --real"):
        evaluate(CopySource(), open_data(people, "test"), tmp_path / "out", config)
    one = EvaluationConfig(weights=WeightFiles(weights.st_lpips), device="cpu", limit=1)
    with pytest.raises(ValueError, match="Frechet distances need at least 2 pairs"):
        evaluate(CopySource(), open_data(people, "test"), tmp_path / "out", one)
    config = EvaluationConfig(weights=WeightFiles(weights.st_lpips), device="cpu", limit=2, without=("fd_stlpips",))
    report = evaluate(CopySource(), open_data(people, "test"), tmp_path / "out", config)
    assert report["real"] is None


class Stopping:
    """A painter that is stopped after some batches, as a killed process is."""

    def __init__(self, painter, batches):
        self.painter, self.batches, self.calls = painter, batches, 0
        self.size, self.synthetic = painter.size, painter.synthetic

    def settings(self):
        return self.painter.settings()

    def __call__(self, pairs, size, frame):
        if self.calls == self.batches:
            raise KeyboardInterrupt
        self.calls += 1
        return self.painter(pairs, size, frame)


def test_a_stopped_run_goes_on_to_the_same_numbers(run, toy, tmp_path):
    painter = ModelPainter(toy, DrawSettings(steps=2))
    with pytest.raises(KeyboardInterrupt):
        run(Stopping(painter, 2), "stopped")
    pictures = tmp_path / "stopped" / "pictures"
    assert len(list(pictures.glob("*.png"))) == 8
    assert not (tmp_path / "stopped" / "report.json").exists()
    next(pictures.glob("*.png")).unlink()  # a batch that was half written is drawn again as a whole
    resumed, straight = run(painter, "stopped"), run(painter, "straight")
    assert values(resumed) == values(straight)
    assert resumed["time"]["drawn_now"] == 8
    assert straight["time"]["drawn_now"] == 12
    assert straight["time"]["seconds_per_image"] > 0
    assert straight["memory"]["peak_bytes"] > 2**20
    for path in pictures.glob("*.png"):
        assert path.read_bytes() == (tmp_path / "straight" / "pictures" / path.name).read_bytes()
    again = run(painter, "stopped")
    assert again["time"] == {**again["time"], "drawn_now": 0, "seconds_per_image": None}
    assert values(again) == values(straight)


def test_pictures_of_maps_that_changed_since_are_not_reported(people, weights, tmp_path):
    folder = shutil.copytree(people, tmp_path / "data")
    offline = WeightFiles(st_lpips=weights.st_lpips)
    config = EvaluationConfig(weights=offline, device="cpu", limit=2, without=("fd_stlpips",))

    def run():
        return evaluate(WarpSource(), open_data(folder, "test"), tmp_path / "out", config, name="it")

    first = run()["data"]["checksum"]
    source = open_data(folder, "test").pairs[0][0]
    DensePose.read(folder / "iuv" / f"{source}.png").hflip().write(folder / "iuv" / f"{source}.png")
    expected = rf"holds pictures of another run \(data: '{first}' there, '[0-9a-f]{{16}}' now"
    with pytest.raises(ValueError, match=expected):
        run()


def test_runs_are_not_mixed(run, toy, tmp_path):
    run(ModelPainter(toy, DrawSettings(steps=2)), limit=2)
    with pytest.raises(ValueError, match=r"holds pictures of another run \(seed: 0 there, 1 now\)"):
        run(ModelPainter(toy, DrawSettings(steps=2, seed=1)), limit=2)
    with pytest.raises(ValueError, match="holds pictures of another run"):
        run(CopySource(), limit=2)
    (tmp_path / "out" / "pictures" / "settings.json").unlink()
    with pytest.raises(ValueError, match=r"holds pictures, but no settings\.json"):
        run(CopySource(), limit=2)


def test_pictures_are_marked_and_may_serve_two_protocols(run, toy, people, weights, tmp_path):
    toy.set_scheduler("ddim")
    painter = ModelPainter(toy, DrawSettings(steps=1))
    run(painter, limit=1, without=("fd_stlpips",))
    (picture,) = (tmp_path / "out" / "pictures").glob("*.png")
    notes = read_png_metadata(picture)
    assert notes["synthetic"] is True
    assert notes["steps"] == 1
    assert picture.name == picture_name((notes["source"], notes["target"]))
    run(CopySource(), "copy", limit=1, without=("fd_stlpips",))
    (copied,) = (tmp_path / "copy" / "pictures").glob("*.png")
    assert "pocold" not in Image.open(copied).text
    config = EvaluationConfig("cfld", limit=2, weights=weights, device="cpu", without=("fid",))
    drawn = tmp_path / "shared"
    first = evaluate(CopySource(), open_data(people), tmp_path / "a", config, pictures=drawn)
    other = EvaluationConfig("pcdms", limit=2, weights=weights, device="cpu", without=("fid",))
    second = evaluate(CopySource(), open_data(people), tmp_path / "b", other, pictures=drawn)
    assert (first["time"]["drawn_now"], second["time"]["drawn_now"]) == (2, 0)


def test_picture_names_are_file_names():
    assert picture_name(("a_1", "a_2")) == "a_1_2_a_2.png"
    assert picture_name(("Anna/a b", "Anna/c")) == "Anna%2Fa b_2_Anna%2Fc.png"
    long = picture_name(("x" * 300, "y"))
    assert len(long) < 255
    assert long != picture_name(("x" * 300, "z"))
    check_names([("a", "b"), ("b", "a")])
    with pytest.raises(ValueError, match="would have the same file name"):
        check_names([("a_2_b", "c"), ("a", "b_2_c")])


def test_repeated_pairs_count_once_and_are_told(run, people, tmp_path):
    folder = tmp_path / "repeated"
    shutil.copytree(people, folder)
    path = folder / "pairs-test.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1], lines[1]]) + "\n")
    report = run(CopySource(), data=folder)
    assert (report["data"]["listed"], report["data"]["repeated"], report["data"]["evaluated"]) == (14, 2, 12)
    assert "2 pairs are listed more than once; they count once." in markdown(report)


def test_a_metric_without_anything_to_compare_is_told(run, people, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(people, folder)
    shutil.rmtree(folder / "garments")
    report = run(CopySource(), data=folder, limit=2)
    assert "colour_top" not in report["metrics"]
    assert "colour_top: no picture had anything to compare" in report["notes"]


def test_skipped_pictures_are_named_in_the_report(run, people, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(people, broken)
    target = Selection(open_data(broken, "test")).pairs[0][1]
    (broken / "img" / f"{target}.jpg").write_bytes(b"nothing")
    report = run(CopySource(), data=broken)
    assert report["data"]["evaluated"] == 8
    assert report["data"]["listed"] == 12
    assert list(report["data"]["skipped"]) == [target]
    assert "1 pictures could not be used" in markdown(report)


def test_a_broken_drawn_picture_is_named(run, tmp_path):
    run(CopySource(), limit=3)
    broken = sorted((tmp_path / "out" / "pictures").glob("*.png"))[0]
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"the drawn picture of .* -> .*cannot be"):
        run(CopySource(), limit=3)


def test_an_estimator_adds_pose_consistency(people, weights, tmp_path):
    config = EvaluationConfig(weights=WeightFiles(weights.st_lpips), device="cpu", without=("fd_stlpips",), limit=3)
    selection = Selection(open_data(people, "test"), 3)
    body = np.mean(
        [(selection.views(p)[1].labels == 2).sum() / (selection.views(p)[1].labels > 0).sum() for p in selection.pairs]
    )
    report = evaluate(
        CopySource(), open_data(people, "test"), tmp_path / "out", config,
        estimator=lambda picture: torch.full(picture[:, 0].shape, 2),
    )  # fmt: skip
    assert report["metrics"]["pose_consistency"]["value"] == pytest.approx(body)


def test_sizes_are_asked_for_and_checked(run, toy):
    report = run(CopySource(), size=(48, 40), limit=2)
    assert report["drawn size"] == [48, 40]
    with pytest.raises(ValueError, match="multiples of 8"):
        run(RoundTrip(toy.vae), "vae", size=(60, 40), limit=2)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        EvaluationConfig(batch_size=0)


def test_reports_that_differ_in_more_than_the_model_warn(run, weights):
    a = run(CopySource(), "a", limit=3)
    b = run(Truth(), "b", limit=3)
    table, warnings = compare({"copy": a, "truth": b})
    assert warnings == []
    assert "| copy | " in table
    assert "Warning" not in table
    _, warnings = compare({"copy": a, "other": run(CopySource(), "c", limit=2)})
    assert len(warnings) == 1
    assert "they saw other pairs (evaluated: 3 and 2" in warnings[0]
    _, warnings = compare({"copy": a, "other": run(CopySource(), "e", limit=3, real_limit=5)})
    assert len(warnings) == 1
    assert "Frechet distances have other real pictures (pictures: 4 and 5" in warnings[0]
    other = run(CopySource((64, 48)), "d", protocol="cfld", weights=weights, without=("fid",), limit=3)
    table, warnings = compare({"copy": a, "cfld": other})
    assert any("the protocols differ (name: ours and cfld" in warning for warning in warnings)
    assert any("other weights" in warning for warning in warnings)
    assert "**Warning: copy and cfld must not be compared" in table
    with pytest.raises(ValueError, match="at least two reports, got 1"):
        compare({"copy": a})


def test_a_file_that_is_no_report_is_refused(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"format": "else"}))
    with pytest.raises(ValueError, match=r"x\.json is no report of this version of pocold evaluate"):
        read_report(tmp_path / "x.json")
    with pytest.raises(ValueError, match="no such file"):
        read_report(tmp_path)


def test_summary():
    assert summary([1.0, 3.0]) == {"value": 2.0, "count": 2, "std": 1.0}
    assert summary([1.0, math.inf]) == {"value": "inf", "count": 2, "std": "inf"}


def test_the_sheet_shows_best_median_and_worst_once():
    rows = {("s", str(i)): {"ssim_gaussian_1.5": i / 10, "l1": 0.0} for i in range(10)}
    metric = ranking_metric(rows)
    assert metric == "ssim_gaussian_1.5"
    cases = choose_cases(rows, metric, 2)
    assert [pair[1] for pair in cases["best"]] == ["9", "8"]
    assert [pair[1] for pair in cases["median"]] == ["5", "4"]
    assert [pair[1] for pair in cases["worst"]] == ["1", "0"]
    few = choose_cases({("s", "a"): {"l1": 0.0}}, "l1")
    assert sum(map(len, few.values())) == 1
    both = {("s", str(i)): {"st_lpips": -float(i), "ssim_gaussian_1.5": 0.0} for i in range(4)}
    assert choose_cases(both, ranking_metric(both), 1)["best"] == [("s", "3")]


def test_a_metric_that_is_no_number_is_told(run, weights, weight_files, tmp_path):
    state = torch.load(weight_files / "st_lpips.pth", weights_only=True)
    state["lin0.model.1.weight"] = state["lin0.model.1.weight"] * math.nan
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(ValueError, match="st_lpips of its picture is not a number"):
        run(CopySource(), weights=WeightFiles(tmp_path / "nan.pth"), limit=2)
