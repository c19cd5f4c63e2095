"""Folders of photos, with and without an index."""

from __future__ import annotations

from pathlib import Path

import pytest

from facerelief.errors import ImageError
from facerelief.lab.datasets.photos import Photo, find_photos


class TestFindPhotos:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        for group, count in (("a", 6), ("b", 3)):
            for k in range(count):
                file = tmp_path / group / f"{group}{k}.jpg"
                file.parent.mkdir(exist_ok=True)
                file.touch()
        return tmp_path

    def test_every_picture_is_a_person_and_its_folder_the_group(self, folder):
        photos = find_photos(folder)
        assert [(p.subject, p.group) for p in photos] == [
            *((f"a{k}", "a") for k in range(6)),
            *((f"b{k}", "b") for k in range(3)),
        ]

    def test_groups_and_limit(self, folder):
        assert {p.group for p in find_photos(folder, ["b"])} == {"b"}
        assert [p.subject for p in find_photos(folder, limit=3)] == ["a0", "a2", "a4", "b0", "b1", "b2"]
        assert len(find_photos(folder, limit=100)) == 9

    def test_an_index_tells_persons_and_groups(self, folder):
        index = folder / "index.csv"
        index.write_text("file,person,source\na/a0.jpg,Anna,one\na/a1.jpg,Anna,\nb/b0.jpg,Ben,two\n", "utf-8")
        photos = find_photos(folder)
        assert photos == [
            Photo(folder / "a/a0.jpg", "Anna", "one"),
            Photo(folder / "a/a1.jpg", "Anna", "a"),
            Photo(folder / "b/b0.jpg", "Ben", "two"),
        ]

    def test_what_will_not_do_is_told_in_one_line(self, folder, tmp_path):
        with pytest.raises(ImageError, match="no images in c; name a folder of photos"):
            find_photos(folder, ["c"])
        for wrong in (tmp_path / "none", tmp_path / "a" / "a0.jpg"):
            with pytest.raises(ImageError, match="no images"):
                find_photos(wrong)
        (folder / "index.csv").write_text("name,who\na/a0.jpg,Anna\n", "utf-8")
        with pytest.raises(ImageError, match=r"index\.csv: expected .* found name, who$"):
            find_photos(folder)
