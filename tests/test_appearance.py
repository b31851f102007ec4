import pytest
import torch
from safetensors.torch import save_file

from pocold.appearance import AppearanceCode
from pocold.models.presets import build_models

FINGERPRINT = torch.linspace(-1, 1, 12)


def random_code(people=1, seed=0, layers=((2, 4, 3), (1, 5, 2))):
    generator = torch.Generator().manual_seed(seed)
    return AppearanceCode(
        values=tuple(torch.randn(people, *shape, generator=generator) for shape in layers),
        mass=tuple(torch.randn(people, *shape[:2], generator=generator) for shape in layers),
        fingerprint=FINGERPRINT,
    )


def assert_equal(actual, expected, **tolerance):
    torch.testing.assert_close(actual.values, expected.values, **tolerance)
    torch.testing.assert_close(actual.mass, expected.mass, **tolerance)


def test_save_and_load_to_the_bit(tmp_path):
    code = random_code(people=2)
    code.mass[0][0, 0, 0] = -torch.inf
    code.save(tmp_path / "person.safetensors")
    loaded = AppearanceCode.load(tmp_path / "person.safetensors")
    assert_equal(loaded, code, atol=0, rtol=0)
    assert torch.equal(loaded.fingerprint, code.fingerprint)
    assert [file.name for file in tmp_path.iterdir()] == ["person.safetensors"]


def test_half_precision_code_survives_a_file(tmp_path):
    code = random_code().to(dtype=torch.bfloat16)
    code.save(tmp_path / "person.safetensors")
    loaded = AppearanceCode.load(tmp_path / "person.safetensors")
    assert loaded.dtype == torch.bfloat16
    assert loaded.mass[0].dtype == torch.float32


def test_more_than_ten_layers_keep_their_order(tmp_path):
    code = random_code(layers=tuple((1, 2, n + 1) for n in range(12)))
    code.save(tmp_path / "person.safetensors")
    assert_equal(AppearanceCode.load(tmp_path / "person.safetensors"), code, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such appearance code"),
        (b"", "cannot be read as an appearance code"),
        (b"not tensors at all", "cannot be read as an appearance code"),
        ("truncated", "cannot be read as an appearance code"),
        ("foreign", "is not an appearance code written by pocold"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, message):
    path = tmp_path / "person.safetensors"
    if content == "truncated":
        random_code().save(path)
        path.write_bytes(path.read_bytes()[:-20])
    elif content == "foreign":
        save_file({"weight": torch.zeros(3)}, path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        AppearanceCode.load(path)


def test_only_safetensors_are_written(tmp_path):
    with pytest.raises(ValueError, match=r"written as \.safetensors, got person\.pt"):
        random_code().save(tmp_path / "person.pt")


def test_missing_folder(tmp_path):
    with pytest.raises(ValueError, match="does not exist; create it first"):
        random_code().save(tmp_path / "nowhere" / "person.safetensors")


def test_stack_and_slice():
    a, b = random_code(seed=0), random_code(seed=1)
    both = AppearanceCode.stack([a, b])
    assert len(both) == 2
    assert_equal(both[:1], a)
    assert_equal(both[1:], b)


@pytest.mark.parametrize(("weight", "expected"), [(0, "a"), (0.0, "a"), (1, "b"), (1.0, "b")])
def test_blending_weights_0_and_1_are_the_identity(weight, expected):
    codes = {"a": random_code(seed=0), "b": random_code(seed=1)}
    assert_equal(codes["a"].blend(codes["b"], weight), codes[expected], atol=0, rtol=0)


def test_blending_interpolates_values():
    a, b = random_code(seed=0), random_code(seed=1)
    mixed = a.blend(b, 0.25)
    torch.testing.assert_close(mixed.values[1], 0.75 * a.values[1] + 0.25 * b.values[1])
    torch.testing.assert_close(mixed.mass[1].exp(), 0.75 * a.mass[1].exp() + 0.25 * b.mass[1].exp())


def test_blending_takes_what_only_one_has_seen():
    a, b = random_code(seed=0), random_code(seed=1)
    a.mass[0][:] = -torch.inf
    mixed = a.blend(b, 0.5)
    torch.testing.assert_close(mixed.values[0], b.values[0])
    torch.testing.assert_close(mixed.values[1], (a.values[1] + b.values[1]) / 2)


@pytest.mark.parametrize("weight", [-0.1, 1.5, float("nan")])
def test_blending_weight_out_of_range(weight):
    with pytest.raises(ValueError, match=r"blending weight must lie in \[0, 1\]"):
        random_code().blend(random_code(seed=1), weight)


def test_union_with_nothing_changes_nothing():
    code, nothing = random_code(), random_code(seed=1)
    for mass in nothing.mass:
        mass[:] = -torch.inf
    assert_equal(AppearanceCode.union([code, nothing]), code)


def test_union_of_nothing_is_nothing():
    nothing = random_code()
    for values, mass in zip(nothing.values, nothing.mass, strict=True):
        values[:], mass[:] = 0, -torch.inf
    result = AppearanceCode.union([nothing, nothing])
    assert (result.mass[0] == -torch.inf).all()
    assert (result.values[0] == 0).all()


@torch.no_grad()
def test_union_is_exact_for_several_photographs():
    """The merged code equals extraction from all tokens side by side, photographs of different sizes included."""
    models = build_models("toy")
    encoder, unet = models["appearance_encoder"], models["unet"]
    photos = [encoder(torch.randn(1, 4, *size)) for size in ((8, 6), (5, 9), (8, 6))]
    codes = [unet.extract_appearance(features, fingerprint=FINGERPRINT) for features in photos]
    side_by_side = [torch.cat([f[level].flatten(2) for f in photos], -1)[..., None] for level in range(4)]
    expected = unet.extract_appearance(side_by_side, fingerprint=FINGERPRINT)
    assert_equal(AppearanceCode.union(codes), expected, atol=1e-5, rtol=1e-5)
    # and in any grouping: adding a photograph later is as good
    assert_equal(AppearanceCode.union([AppearanceCode.union(codes[:2]), codes[2]]), expected, atol=1e-5, rtol=1e-5)


def test_parts_of_the_same_person_unite_to_the_whole():
    models = build_models("toy")
    encoder, unet = models["appearance_encoder"], models["unet"]
    with torch.no_grad():
        features = encoder(torch.randn(1, 4, 8, 6))
        masks = [torch.rand(1, f.shape[-2] * f.shape[-1]) < 0.5 for f in features]
        upper = unet.extract_appearance(features, fingerprint=FINGERPRINT, token_masks=masks)
        lower = unet.extract_appearance(features, fingerprint=FINGERPRINT, token_masks=[~mask for mask in masks])
        whole = unet.extract_appearance(features, fingerprint=FINGERPRINT)
    assert_equal(AppearanceCode.union([upper, lower]), whole, atol=1e-5, rtol=1e-5)


def test_codes_that_are_mixed_hold_as_many_people():
    one, two = random_code(), random_code(people=2)
    for mix in (lambda: one.blend(two, 0.0), lambda: one.blend(two, 0.5), lambda: AppearanceCode.union([one, two])):
        with pytest.raises(ValueError, match=r"must hold one number of people, got \[1, 2\]"):
            mix()


@pytest.mark.parametrize("mix", [lambda a, b: a.blend(b, 0.5), lambda a, b: AppearanceCode.union([a, b])])
def test_codes_of_two_precisions_mix(mix):
    a, b = random_code(seed=0), random_code(seed=1)
    mixed = mix(a, b.to(dtype=torch.bfloat16))
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed.values[0], mix(a, b).values[0], atol=0.02, rtol=0.02)


def test_people_can_be_picked_and_counted():
    both = random_code(people=2)
    assert_equal(both[1], both[1:])
    assert_equal(both[-1], both[1:])
    assert [len(code) for code in both] == [1, 1]
    with pytest.raises(IndexError, match="person 2 of 2"):
        both[2]


def test_a_code_is_shown_in_one_line():
    assert repr(random_code(people=2)) == "AppearanceCode(people=2, layers=2, dtype=torch.float32, device='cpu')"


def test_codes_of_other_models_do_not_mix():
    code = random_code()
    other = AppearanceCode(code.values, code.mass, code.fingerprint.flip(0))
    for mix in (lambda: code.blend(other, 0.5), lambda: AppearanceCode.union([code, other])):
        with pytest.raises(ValueError, match="made by a model with other weights"):
            mix()
    with pytest.raises(ValueError, match="made by another model: it has 1 layers"):
        AppearanceCode.stack([code, random_code(layers=((2, 4, 3),))])


def test_rounding_of_the_weights_is_the_same_model():
    code = random_code()
    code.check_model(FINGERPRINT.bfloat16().float(), [(2, 4, 3), (1, 5, 2)])
    with pytest.raises(ValueError, match="other weights"):
        code.check_model(FINGERPRINT * 1.1, [(2, 4, 3), (1, 5, 2)])


def test_fingerprint_of_another_length_is_another_model():
    with pytest.raises(ValueError, match="other weights"):
        random_code().check_model(FINGERPRINT[:-1], [(2, 4, 3), (1, 5, 2)])


def test_shapes_are_checked_on_construction():
    code = random_code()
    with pytest.raises(ValueError, match=r"layer 1: expected values \(B, A, K, D\) and mass \(B, A, K\)"):
        AppearanceCode(code.values, (code.mass[0], code.mass[0]), FINGERPRINT)
    with pytest.raises(ValueError, match="as many values as masses, got 2 and 1"):
        AppearanceCode(code.values, code.mass[:1], FINGERPRINT)
    with pytest.raises(ValueError, match="at least one appearance code"):
        AppearanceCode.stack([])
