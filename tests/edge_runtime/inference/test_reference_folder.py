import shutil

import numpy as np
import pytest

from edge_runtime.bundles.verify import load_bundle
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.inference.preprocess.reference_folder import ReferenceFolderError, read_reference_folder
from tests.support.paths import DEMO

PHOTOS = sorted((DEMO / "pictures").glob("*.jpg"))


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(DEMO / "bundle" / "efficientnet-lite0" / "1")


@pytest.fixture
def read(bundle):
    preprocessor = PicturePreprocessor(bundle.manifest.preprocess)
    return lambda folder, most=100: read_reference_folder(folder, preprocessor, bundle.labels, most)


def fill(folder, count, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for path in PHOTOS[first : first + count]:
        shutil.copy(path, folder)
    return folder


def test_loose_pictures_have_no_labels(tmp_path, read):
    x, y = read(fill(tmp_path / "now", 3))
    assert (x.shape, x.dtype, y) == ((3, 3, 224, 224), np.float32, None)


def test_pictures_come_in_the_layout_of_the_model(tmp_path, bundle, read):
    x, _ = read(fill(tmp_path / "now", 2))
    spec = bundle.manifest.preprocess.model_copy(update={"layout": "nhwc"})
    last, _ = read_reference_folder(tmp_path / "now", PicturePreprocessor(spec), bundle.labels, 100)
    np.testing.assert_array_equal(last, np.moveaxis(x, 1, -1))


def test_sub_folders_are_labels_by_name_or_by_index(tmp_path, read):
    fill(tmp_path / "goldfish", 2)
    fill(tmp_path / "0", 1, first=2)
    x, y = read(tmp_path)
    assert len(x) == 3
    assert sorted(y.tolist()) == [0, 1, 1]


def test_labels_come_in_turn_so_that_each_part_of_the_set_has_all(tmp_path, read):
    for label in range(3):
        fill(tmp_path / str(label), 2, first=label)
    assert read(tmp_path)[1].tolist() == [0, 1, 2, 0, 1, 2]


def test_more_pictures_than_wanted_are_thinned_out_evenly(tmp_path, read):
    assert len(read(fill(tmp_path / "now", 9), most=4)[0]) == 3


@pytest.mark.parametrize("name", ["no such label", "100000", "²", "-1"])
def test_a_folder_that_is_no_label_is_named(tmp_path, read, name):
    fill(tmp_path / name, 1)
    with pytest.raises(ReferenceFolderError):
        read(tmp_path)


def test_a_mixture_is_refused(tmp_path, read):
    fill(tmp_path, 1)
    fill(tmp_path / "goldfish", 1)
    with pytest.raises(ReferenceFolderError):
        read(tmp_path)


def test_damaged_pictures_are_all_named(tmp_path, read):
    fill(tmp_path, 1)
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(ReferenceFolderError, match=r"a\.jpg.*b\.png"):
        read(tmp_path)


def test_an_empty_or_missing_folder_says_what_was_expected(tmp_path, read):
    with pytest.raises(ReferenceFolderError):
        read(tmp_path)
    with pytest.raises(ReferenceFolderError):
        read(tmp_path / "missing")


def test_a_path_that_the_disk_refuses_is_the_same_error(tmp_path, read):
    with pytest.raises(ReferenceFolderError):
        read(tmp_path / ("x" * 300))


def test_a_picture_of_a_machine_camera_counts_like_any_other(tmp_path, read):
    fill(tmp_path / "now", 1)
    (tmp_path / "now" / "grey.PGM").write_bytes(b"P5 8 8 255\n" + bytes(64))
    assert len(read(tmp_path / "now")[0]) == 2
