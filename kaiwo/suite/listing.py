"""What a source must list, and how it looks an object up."""

from __future__ import annotations

import pytest

from kaiwo.errors import ContainerMissingError, NotFoundError
from kaiwo.objects import same_bytes
from kaiwo.protocols import Source
from kaiwo.suite.bucket import FOLDER, Suite, TestBucket

#: Names that have broken downloaders, each below the suite's folder.
ODD_NAMES = (
    "with space.txt",
    "percent%20sign%.txt",
    "plus+sign.txt",
    "hash#sign.txt",
    "question?mark=1&two.txt",
    "brackets[1]{2}(3).txt",
    "unicode-ñ-日本-🚀.txt",
    "decomposed-n\u0303.txt",
    "[red]markup[/wrong].txt",
    ".leading.dot",
    "trailing space ",
    "quotes'\"`.txt",
    "semicolon;ampersand&amp;<tag>.txt",
    "colon:at@equals=comma,.txt",
    "tilde~caret^dollar$.txt",
    "folder with space/nested%/file+.txt",
)


class Listing(Suite):
    """Listings and look-ups."""

    def test_lists_every_file_below_a_prefix_flat_and_with_its_size(
        self, bucket: TestBucket, source: Source
    ) -> None:
        """Of two folders of which one's name begins with the other's, one is listed."""
        bucket.put(
            {f"{FOLDER}/a": b"1", f"{FOLDER}/deep/er/b": b"22", f"{FOLDER}2/c": b"", "d": b""}
        )
        found = {each.key: each.size for each in source.list(f"{FOLDER}/")}
        assert found == {f"{FOLDER}/a": 1, f"{FOLDER}/deep/er/b": 2}
        assert len(list(source.list(""))) == 4

    def test_odd_names_are_listed_looked_up_and_read_as_they_are(
        self, bucket: TestBucket, source: Source
    ) -> None:
        """Percent signs, markup, brackets, unicode: nothing is decoded or read as magic."""
        names = [name for name in ODD_NAMES if name not in self.unstorable_names]
        objects = {f"{FOLDER}/{name}": name.encode() for name in names}
        bucket.put(objects)
        listed = {each.key: each for each in source.list(f"{FOLDER}/")}
        assert set(listed) == set(objects)
        for key, data in objects.items():
            assert bytes(source.read(listed[key], 0, len(data))) == data
            assert same_bytes(source.stat(key), listed[key])

    def test_empty_objects_are_files(self, bucket: TestBucket, source: Source) -> None:
        """They are listed, and their zero bytes can be read."""
        bucket.put({f"{FOLDER}/empty": b""})
        (found,) = source.list(f"{FOLDER}/")
        assert (found.size, bytes(source.read(found, 0, 0))) == (0, b"")

    def test_placeholders_of_folders_are_left_out(self, bucket: TestBucket, source: Source) -> None:
        """Keys that end in a slash, or what the store is asked about and says is none."""
        if not self.has_placeholders:
            pytest.skip("this store has folders in their place")
        bucket.put(
            {f"{FOLDER}/": b"", f"{FOLDER}/sub/": b"", f"{FOLDER}/sub/a": b"1", "other/": b""}
        )
        for prefix in ("", f"{FOLDER}/", f"{FOLDER}/sub/"):
            listed, answers = source.list_asking(prefix, lambda _: True)
            keys = {each.key for each in listed}
            keys -= {each.object.key for each in answers if each.is_placeholder}
            assert keys == {f"{FOLDER}/sub/a"}

    def test_a_listing_of_several_pages_is_complete(
        self, bucket: TestBucket, source: Source
    ) -> None:
        """No page is lost, none comes twice."""
        expected = [f"{FOLDER}/{number:05}" for number in range(self.listing_size)]
        bucket.put(dict.fromkeys(expected, b"x"))
        assert sorted(each.key for each in source.list(f"{FOLDER}/")) == expected

    def test_an_empty_prefix_yields_nothing(self, bucket: TestBucket, source: Source) -> None:
        """The bucket is there; the folder is not. A store that knows folders may say so."""
        bucket.put({"other": b"x"})
        if self.knows_folders:
            with pytest.raises(NotFoundError) as caught:
                list(source.list(f"{FOLDER}/"))
            assert not isinstance(caught.value, ContainerMissingError)
        else:
            assert list(source.list(f"{FOLDER}/")) == []

    def test_listings_are_never_from_a_cache(self, bucket: TestBucket, source: Source) -> None:
        """What is stored between two listings is in the second."""
        bucket.put({f"{FOLDER}/a": b"1"})
        before = {each.key for each in source.list(f"{FOLDER}/")}
        bucket.put({f"{FOLDER}/b": b"2"})
        assert before == {f"{FOLDER}/a"}
        again = {each.key for each in source.list(f"{FOLDER}/")}
        assert again - before == (set() if self.keeps_revision else {f"{FOLDER}/b"})
        later = bucket.opener.open()
        assert {each.key for each in later.list(f"{FOLDER}/")} == {f"{FOLDER}/a", f"{FOLDER}/b"}
        later.close()

    def test_a_missing_object_is_not_found(self, bucket: TestBucket, source: Source) -> None:
        """The message names it."""
        bucket.put({"other": b"x"})
        with pytest.raises(NotFoundError, match="no-such-object") as caught:
            source.stat(f"{FOLDER}/no-such-object")
        assert not isinstance(caught.value, ContainerMissingError)

    def test_a_missing_bucket_is_not_found(self, bucket: TestBucket) -> None:
        """When it is listed as when an object in it is asked for."""
        source = bucket.missing.open()
        with pytest.raises(NotFoundError):
            list(source.list(""))
        with pytest.raises(NotFoundError):
            source.stat("key")
        source.close()
