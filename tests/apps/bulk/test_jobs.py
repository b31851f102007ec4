"""Rows of jobs: what is read of which file, what is refused, and in which order it is drawn."""

import json
from itertools import chain

import pytest

from pocold.apps.bulk import jobs as jobs_module
from pocold.apps.bulk.jobs import Jobs, Row, still_wanted, units


def read(tmp_path, name, content, **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Jobs(path, **options)


def said(row):
    return row.photo, row.pose, row.seed, row.source_pose, row.output


def numbered(count, photo="a.png"):
    return "photo,pose\n" + f"{photo},walk\n" * count


# -- CSV -------------------------------------------------------------------------------------------------------------


def test_csv_as_a_spreadsheet_writes_it(tmp_path):
    content = '\ufeffPhoto; pose ;SEED;output\r\nä b.png;walk:side;7;\r\n\r\n c.png ;"stand";;people/x.png\r\n'
    jobs = read(tmp_path, "jobs.csv", content, seed=3)
    assert [said(row) for row in jobs] == [
        ("ä b.png", "walk:side", 7, None, "000001-__b-walk-side.png"),
        ("c.png", "stand", 3, None, "people/x.png"),
    ]
    assert jobs.ignored == set()
    assert jobs.base == tmp_path


def test_tabs_quotes_and_cells_left_out(tmp_path):
    content = 'pose\tphoto\tseed\nwalk\t"a, b.png"\nstand\tb.png\t1\n'
    assert [(row.photo, row.pose, row.seed) for row in read(tmp_path, "jobs.tsv", content)] == [
        ("a, b.png", "walk", 0),
        ("b.png", "stand", 1),
    ]


def test_a_column_that_is_missing_twice_there_or_unknown(tmp_path):
    with pytest.raises(
        ValueError, match=r"expected the columns photo and pose.*; pose is missing among photo, possible"
    ):
        read(tmp_path, "jobs.csv", "photo,possible\na.png,walk\n").survey()
    with pytest.raises(ValueError, match="photo and pose is missing among none"):
        read(tmp_path, "jobs.csv", "").survey()
    with pytest.raises(ValueError, match="the column pose is there twice"):
        read(tmp_path, "jobs.csv", "photo,pose,Pose\na.png,walk,stand\n").survey()
    jobs = read(tmp_path, "jobs.csv", "photo,pose,sed,note,\na.png,walk,3,x,\n")
    jobs.survey()
    assert jobs.ignored == {"sed", "note"}


def test_csv_that_cannot_be_read_on(tmp_path):
    with pytest.raises(ValueError, match="is not UTF-8"):
        read(tmp_path, "jobs.csv", "photo,pose\nü.png,walk\n".encode("latin-1")).survey()
    with pytest.raises(ValueError, match=r"jobs.csv, line 3: "):
        read(tmp_path, "jobs.csv", 'photo,pose\na.png,walk\n"b.png,walk\n').survey()
    with pytest.raises(ValueError, match="expected at least one row"):
        read(tmp_path, "jobs.csv", "photo,pose\r\n").survey()


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (",walk,,", "photo: expected a file, got nothing"),
        ("a.png,,,", "pose: expected a name or a file, got nothing"),
        ("a.png,wlak,,", "unknown pose 'wlak'"),
        ("a.png,walk,-1,", "seed: expected a whole number from 0"),
        ("a.png,walk,1.5,", "seed: expected a whole number from 0"),
        ("a.png,walk,9223372036854775808,", "seed: expected a whole number from 0"),
        ("a.png,walk,,,too much", "expected 4 cells in a row, got 5"),
        ("a.png,walk,,a.jpg", "output: expected a name such as people/a.png"),
        ("a.png,walk,,../a.png", "output: expected a name such as people/a.png"),
        ("a.png,walk,,/tmp/a.png", "output: expected a name such as people/a.png"),
        ("a.png,walk,,C:\\a.png", "output: expected a name such as people/a.png"),
        ("a.png,walk,,.hidden/a.png", "output: expected a name such as people/a.png"),
        ("a.png,walk,," + 300 * "a" + ".png", "output: expected a name such as people/a.png"),
    ],
)
def test_a_broken_row_says_why_and_the_next_is_read(tmp_path, row, sentence):
    jobs = read(tmp_path, "jobs.csv", f"photo,pose,seed,output\n{row}\nb.png,stand,,\n")
    broken, good = jobs
    assert sentence in broken.error
    assert (broken.number, good.number, good.error) == (1, 2, None)
    assert jobs.survey().rows == 2


# -- JSONL, Parquet, folders ----------------------------------------------------------------------------------------


def test_json_lines_with_bad_ones(tmp_path):
    good = {"photo": "a.png", "pose": "walk", "seed": 2, "source_pose": "m.png", "more": 1}
    lines = [
        b"\xef\xbb\xbf" + json.dumps(good).encode(), b"", b'{"photo": "a.png", ', b"[1]", b"\xff\xfe",
        b'{"photo": 3, "pose": "walk"}', b'{"photo": "a.png", "pose": "walk", "seed": true}',
        b'{"photo": "b.png", "pose": "walk", "seed": 1e400}',
        b'{"photo": "b.png", "pose": "stand", "seed": null}',
    ]  # fmt: skip
    jobs = read(tmp_path, "jobs.jsonl", b"\r\n".join(lines))
    rows = list(jobs)
    assert said(rows[0]) == ("a.png", "walk", 2, "m.png", "000001-a-walk.png")
    assert said(rows[-1]) == ("b.png", "stand", 0, None, "000008-b-stand.png")
    errors = ["line 3 is no JSON", "line 4: expected an object", "line 5 is no JSON", "photo: expected text, got 3"]
    errors += ["seed: expected a whole number from 0 to 2^63 - 1, got True", "seed: expected a whole number"]
    assert [row.error[: len(error)] for row, error in zip(rows[1:-1], errors, strict=True)] == errors
    assert jobs.ignored == {"more"}


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {
        "Photo": ["a.png", None, "b.png"],
        "pose": ["walk", "walk", "stand"],
        "seed": [4.0, 1.0, None],
        "x": [1, 2, 3],
    }
    parquet.write_table(pyarrow.table(table), tmp_path / "jobs.parquet")
    jobs = Jobs(tmp_path / "jobs.parquet", seed=9)
    rows = list(jobs)
    assert [(row.photo, row.seed, row.error) for row in rows[::2]] == [("a.png", 4, None), ("b.png", 9, None)]
    assert rows[1].error == "photo: expected a file, got nothing"
    assert jobs.ignored == {"x"}
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"broken.parquet cannot be read as Parquet"):
        Jobs(tmp_path / "broken.parquet").survey()
    parquet.write_table(pyarrow.table({"photo": ["a.png"]}), tmp_path / "less.parquet")
    with pytest.raises(ValueError, match="pose is missing among photo"):
        Jobs(tmp_path / "less.parquet").survey()


def test_a_folder_is_every_photograph_in_every_pose(tmp_path, monkeypatch):
    names = ["b.JPG", "a.png", "a.iuv.png", "a.garments.png", "c_densepose.png", ".d.png", "notes.txt", "p.safetensors"]
    (tmp_path / "people").mkdir()
    for name in names:
        (tmp_path / "people" / name).touch()
    (tmp_path / "map.png").touch()
    monkeypatch.chdir(tmp_path)
    jobs = Jobs(tmp_path / "people", ["walk", "map.png"], seed=5, num_images=2)
    rows = list(jobs)
    assert [row.photo for row in rows[::4]] == ["a.png", "b.JPG", "p.safetensors"]
    assert [(row.pose, row.seed) for row in rows[:4]] == [
        ("walk", 5), ("walk", 6), (str(tmp_path / "map.png"), 5), (str(tmp_path / "map.png"), 6)
    ]  # fmt: skip
    assert jobs.survey().rows == 12


def test_what_is_no_job(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        Jobs(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="expected the poses of its photographs"):
        Jobs(tmp_path)
    with pytest.raises(ValueError, match=r"expected jobs as .csv, .jsonl or .parquet, or a folder.*, got jobs.xlsx"):
        read(tmp_path, "jobs.xlsx", "")
    with pytest.raises(ValueError, match="--pose is for a folder of photographs"):
        read(tmp_path, "jobs.csv", numbered(1), poses=["walk"])
    with pytest.raises(ValueError, match="--num-images is for a folder of photographs"):
        read(tmp_path, "jobs.csv", numbered(1), num_images=2)


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("two", ["x.png", "X.png", "./x.png", "/x.png"[1:]])
def test_two_rows_with_one_output_are_refused(tmp_path, two):
    jobs = read(tmp_path, "jobs.csv", f"photo,pose,output\na.png,walk,x.png\nb.png,walk,\nc.png,walk,{two}\n")
    with pytest.raises(ValueError, match=r"rows 1 and 3 would both write [xX].png; give each row an output of its own"):
        jobs.survey()


def test_an_output_that_another_row_is_given_is_refused(tmp_path):
    jobs = read(tmp_path, "jobs.csv", "photo,pose,output\na.png,walk,000002-a-walk.png\na.png,walk,\n")
    with pytest.raises(ValueError, match=r"rows 1 and 2 would both write 000002-a-walk\.png"):
        jobs.survey()


def test_many_pictures_get_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_module, "_FLAT", 3)
    few, many = read(tmp_path, "few.csv", numbered(3)), read(tmp_path, "many.csv", numbered(4))
    assert few.survey().rows == 3
    assert many.survey().rows == 4
    assert next(iter(few)).output == "000001-a-walk.png"
    assert next(iter(many)).output == "0000/000001-a-walk.png"


def test_names_in_shards_have_one_dot(tmp_path):
    row = next(iter(read(tmp_path, "jobs.csv", "photo,pose,output\na.b.png,walk:30.5,\n", tarred=True)))
    assert row.output == "000001-a_b-walk-30_5.png"
    row = next(iter(read(tmp_path, "jobs.csv", "photo,pose,output\na.png,walk,a.b.png\n", tarred=True)))
    assert row.error == "output: names in shards have no dot but that of .png, got 'a.b.png'"


def test_the_survey_tells_rows_apart_not_how_they_are_written(tmp_path):
    comma = read(tmp_path, "a.csv", "photo,pose,seed\na.png,walk,1\n").survey()
    other = read(tmp_path, "b.csv", "\ufeffpose;photo;seed\r\nwalk;a.png;1\r\n").survey()
    lines = read(tmp_path, "c.jsonl", '{"photo": "a.png", "pose": "walk", "seed": 1}').survey()
    assert comma == other == lines
    assert read(tmp_path, "d.csv", "photo,pose,seed\na.png,walk,2\n").survey() != comma


# -- drawing order ---------------------------------------------------------------------------------------------------


def test_rows_of_one_person_follow_each_other_within_a_window(monkeypatch):
    monkeypatch.setattr(jobs_module, "WINDOW", 6)
    rows = [Row(number, photo="ab"[number % 2]) for number in range(1, 13)]
    drawn = list(chain.from_iterable(chain.from_iterable(units(rows, 2))))
    assert [row.number for row in drawn] == [2, 4, 6, 1, 3, 5, 8, 10, 12, 7, 9, 11]
    assert [row.position for row in drawn] == list(range(12))


@pytest.mark.parametrize(("batch", "sizes"), [(1, [8, 8, 4]), (3, [3, 3, 1]), (20, [1])])
def test_units_hold_whole_batches(batch, sizes):
    made = list(units([Row(number) for number in range(1, 21)], batch))
    assert [len(unit) for unit in made] == sizes
    assert all(len(some) == batch for unit in made for some in unit[:-1])


def test_batches_stay_as_they_were_when_a_run_goes_on():
    rows = [Row(number) for number in range(1, 11)]
    settled = bytearray(11)
    for number in (1, 2, 3, 5, 7, 8, 9, 10):
        settled[number] = 1
    left = list(still_wanted(units(rows, 2), settled))
    assert [[[(row.number, row.wanted) for row in batch] for batch in unit] for unit in left] == [
        [[(3, False), (4, True)], [(5, False), (6, True)]]
    ]
    assert list(still_wanted(units(rows, 2), b"\1" * 11)) == []
