"""The folder of a root's state: the names of everything in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaiwo.state import folder


def test_the_names_are_those_that_are_documented() -> None:
    assert folder.manifest_path("/r") == "/r/.kaiwo/manifest.jsonl"
    assert folder.journal_path("/r", None, "9f1c22aa") == "/r/.kaiwo/journal-9f1c22aa.jsonl"
    assert folder.claims_folder("/r") == "/r/.kaiwo/claims"
    path = folder.claim_path("/r/.kaiwo/claims", "9f1c22aa", 2, 0)
    assert path == "/r/.kaiwo/claims/9f1c22aa-2-0.json"
    assert folder.run_of_claim(path) == "9f1c22aa"


def test_with_a_state_folder_elsewhere_a_hash_of_the_root_is_in_each_name() -> None:
    # A later kaiwo has to find what an earlier one wrote.
    assert folder.manifest_path("/r", "/s") == "/s/manifest-6588117f7b516232.jsonl"
    assert folder.journal_path("/r", "/s", "9f") == "/s/journal-9f-6588117f7b516232.jsonl"
    assert folder.claims_folder("/r", "/s") == "/s/claims-6588117f7b516232"
    assert folder.manifest_path("/q", "/s") != folder.manifest_path("/r", "/s")


@pytest.mark.parametrize("state_dir", [None, "state"])
def test_journals_are_found_and_nothing_else_is_taken_for_one(
    tmp_path: Path, state_dir: str | None
) -> None:
    root, elsewhere = str(tmp_path), str(tmp_path / state_dir) if state_dir else None
    paths = {run: folder.journal_path(root, elsewhere, run) for run in ("0", "9f1c22aa")}
    assert folder.journal_paths(root, elsewhere) == []
    others = [
        folder.manifest_path(root, elsewhere),
        folder.journal_path(root, elsewhere, "no-run"),
        folder.journal_path(root, elsewhere, ""),
        folder.journal_path(root, elsewhere, "0" * 33),
        f"{paths['0']}.old",
    ]
    Path(paths["0"]).parent.mkdir()
    for path in (*paths.values(), *others):
        Path(path).touch()
    assert sorted(folder.journal_paths(root, elsewhere)) == sorted(paths.items())


def test_claims_are_found_without_their_temporary_files(tmp_path: Path) -> None:
    claims = str(tmp_path / "claims")
    assert folder.claim_paths(claims) == []
    path = folder.claim_path(claims, "9f", 1, 0)
    Path(claims).mkdir()
    for each in (path, folder.claim_part_path(path)):
        Path(each).touch()
    assert folder.claim_paths(claims) == [path]
