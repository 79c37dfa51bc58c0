"""What a run imports: each package makes every pod start later."""

from __future__ import annotations

import json
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.servers import ROOT, web
from tests.support.command import clean_environment, configured, tree
from tests.support.stores import Store

#: Runs the command, then writes the names of the modules that it has loaded.
CHILD = """\
import os, sys
before = set(sys.modules)
path, *arguments = sys.argv[1:]
sys.argv = ["kaiwo", *arguments]
leave = os._exit

def end(code):
    found = "\\n".join(set(sys.modules) - before)
    with open(path, "w") as file:
        file.write(found)
    leave(code)

# The command may end so, for a quick end.
os._exit = end
from kaiwo.__main__ import main
try:
    main()
except SystemExit as ended:
    end(ended.code or 0)
"""
#: The same; but says on stdout how often garbage was looked for since kaiwo began.
COLLECTING = """\
import gc, os, sys
usual, looks, leave = gc.get_threshold(), [], os._exit

def look(phase, info):
    if phase == "start" and gc.get_threshold() != usual:
        looks.append(info)

def end(code):
    print(len(looks), flush=True)
    leave(code)

gc.callbacks.append(look)
os._exit = end
sys.argv[0] = "kaiwo"
from kaiwo.__main__ import main
main()
"""
#: What compiled modules share, and what the tests may be measured with.
NO_PACKAGES = {"coverage", "cython_runtime"}

#: Modules of Python that cost the most.
NETWORKING = {
    "asyncio", "http.client", "multiprocessing", "sqlite3", "ssl", "urllib.request",
}  # fmt: skip

COMMAND = {"annotated_doc", "kaiwo", "shellingham", "typer"}
#: typer itself asks it about the parameters of commands.
TYPERS = {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"}
VALIDATION = COMMAND | TYPERS | {"msgspec", "yaml"}
ENVIRONMENT = {"dotenv", "pydantic_settings"}
DOWNLOAD = VALIDATION | {"awscrt", "obstore"}

#: Files of kaiwo that the bare command loads; a star stands for the files of a package.
OWN_COMMAND = {
    "__main__", "_version", "cli.app", "cli.bootstrap", "cli.lock_commands",
    "cli.logs", "cli.numbers", "cli.options", "cli.plain_help", "cli.process", "cli.signals",
    "cli.storage_initializer",
    "errors", "files.process_limits", "loading", "redact", "units",
}  # fmt: skip
OWN_VALIDATION = OWN_COMMAND | {
    "cli.config_file", "cli.faults", "config.building", "config.diagnostics",
    "config.document",
    "config.excerpts",
    "config.expansion", "config.loader", "config.own_files", "config.rendering", "config.settings",
    "config.suggestions", "config.syntax", "config.targets", "config.validation",
    "config.variables", "environment", "events", "loading",
    "files.names", "files.paths", "files.placement", "files.repeat", "jobs", "net.*", "objects",
    "own_names",
    "protocols", "sources.base", "sources.paging", "sources.translation", "tasks.base",
    "tasks.fetch_request",
    "tasks.fields", "tasks.items", "tasks.customer_key", "tasks.kept", "tasks.object_store",
    "tasks.plugins", "tasks.upkeep",
    "tasks.registry", "tasks.s3", "tasks.secrets", "tasks.signature", "tasks.targets",
    "units", "workers.globs",
}  # fmt: skip
OWN_DOWNLOAD = OWN_VALIDATION | {
    "api.*", "checksums", "cli.commands", "config.fetch_url", "engine.*", "files.*",
    "planning.*", "reporting.*", "sources.answers", "sources.folder_markers",
    "sources.identity", "sources.obstore.*", "sources.pieces", "sources.s3_head",
    "state.*", "tasks.s3_services", "tasks.s3_settings", "workers.*",
}  # fmt: skip


def loaded(tmp_path: Path, *arguments: str, **env: str) -> set[str]:
    """The modules that a command which succeeds has loaded."""
    names = tmp_path / "modules"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(names), *arguments],
        cwd=tmp_path,
        env=clean_environment(tmp_path) | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(names.read_text().split("\n"))


def packages(modules: set[str]) -> set[str]:
    """Those that have to be installed: no compiled part of one, no part of Python."""
    tops = {name.partition(".")[0] for name in modules if not name.startswith("_")}
    return tops - set(sys.stdlib_module_names) - NO_PACKAGES


def own(modules: set[str]) -> set[str]:
    """The files of kaiwo; a package is a line of text."""
    names = {name.removeprefix("kaiwo.") for name in modules if name.startswith("kaiwo.")}
    return {name for name in names if not (ROOT / "kaiwo" / name.replace(".", "/")).is_dir()}


def beyond(modules: set[str], allowed: set[str]) -> set[str]:
    """The files of kaiwo that are not allowed."""
    return {name for name in own(modules) if not any(fnmatch(name, each) for each in allowed)}


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_bare_command_loads_typer_alone(tmp_path: Path, option: str) -> None:
    modules = loaded(tmp_path, option)
    assert packages(modules) - COMMAND == set()
    assert beyond(modules, OWN_COMMAND) == set()
    # Of Python itself, these cost the most.
    assert modules & {"asyncio", "concurrent.futures", "http.client", "socket", "ssl"} == set()


@pytest.mark.parametrize(
    "command", ["clean", "doctor", "download", "fetch", "ls", "plan", "schema", "validate"]
)
def test_the_help_of_a_command_loads_what_typer_does_alone(tmp_path: Path, command: str) -> None:
    modules = loaded(tmp_path, command, "--help")
    assert packages(modules) - COMMAND - TYPERS == set()
    assert beyond(modules, OWN_COMMAND) == set()


def test_validation_loads_what_validates_and_no_engine(tmp_path: Path) -> None:
    items = [{"folder": "d", "target_path": "d"}, {"file": "k", "target_path": "k"}]
    task = {"type": "s3", "buckets": [{"name": "bucket", "items": items}]}
    modules = loaded(tmp_path, "validate", configured(tmp_path, task))
    assert packages(modules) - VALIDATION == set()
    assert beyond(modules, OWN_VALIDATION) == set()


@pytest.mark.parametrize("name", ["KAIWO_RETRIES", "kaiwo_retries"])
def test_what_reads_the_environment_is_loaded_where_an_option_is_there(
    tmp_path: Path, name: str
) -> None:
    items = [{"file": "k", "target_path": "k"}]
    task = {"type": "s3", "buckets": [{"name": "bucket", "items": items}]}
    path = configured(tmp_path, task)
    modules = loaded(tmp_path, "validate", path, **{name: "3", "KAIWO_PORT": "tcp://10.0.0.1:80"})
    assert packages(modules) - VALIDATION == ENVIRONMENT
    assert beyond(modules, OWN_VALIDATION) == set()
    assert packages(loaded(tmp_path, "validate", path, KAIWO_PORT="80")) - VALIDATION == set()


def test_a_glob_is_translated_by_fsspec_without_any_filesystem(tmp_path: Path) -> None:
    items = [{"folder": "d", "glob": "*.bin", "target_path": "d"}]
    task = {"type": "s3", "buckets": [{"name": "bucket", "items": items}]}
    modules = loaded(tmp_path, "validate", configured(tmp_path, task))
    assert packages(modules) - VALIDATION - {"fsspec"} == set()
    assert modules & {"fsspec.asyn", "fsspec.implementations"} == set()


@pytest.mark.parametrize("selection", ["folder", "files"])
def test_a_small_download_from_s3_loads_obstore_and_no_sdk(
    tmp_path: Path, s3: Store, selection: str
) -> None:
    objects = {f"d/{number}": b"data" * number for number in range(1, 11)}
    items = [{"file": key, "target_path": key} for key in objects]
    if selection == "folder":
        items = [{"folder": "d", "target_path": "d"}]
    path = configured(tmp_path, s3.task(s3.new_bucket(objects), items))
    modules = loaded(tmp_path, "download", path, "--engine", "obstore")
    assert tree(tmp_path / "out") == objects
    assert packages(modules) - DOWNLOAD == set()
    assert beyond(modules, OWN_DOWNLOAD) == set()
    # HTTP and TLS are obstore's.
    assert modules & NETWORKING == set()


def test_a_small_download_looks_for_no_garbage(tmp_path: Path, s3: Store) -> None:
    bucket = s3.new_bucket({f"{number:04}": b"data" for number in range(10)})
    path = configured(tmp_path, s3.task(bucket, [{"folder": "", "target_path": "."}]))
    done = subprocess.run(
        [sys.executable, "-c", COLLECTING, "download", path, "--progress", "none"],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "0\n"
    assert len(tree(tmp_path / "out")) == 10


@pytest.mark.parametrize("place", ["target_path", "cache_dir"])
def test_a_download_from_the_hub_loads_constants_of_its_library_and_no_client(
    tmp_path: Path, hub: Store, place: str
) -> None:
    hub.fill("start/up", {"large.bin": bytes(9 << 20), "config.json": b"{}"})
    task = hub.task("start/up", (), **{place: str(tmp_path / "there")})
    modules = loaded(tmp_path, "download", configured(tmp_path, task))
    assert packages(modules) - VALIDATION == {"awscrt", "huggingface_hub", "urllib3"}
    of_library = {name for name in modules if name.startswith("huggingface_hub.")}
    assert of_library == {"huggingface_hub.constants"}
    assert modules & {"urllib.request", "multiprocessing", "sqlite3"} == set()


def test_a_download_from_the_web_loads_no_filesystem(
    tmp_path: Path,
) -> None:
    with web.site() as site:
        site.pages["/large.bin"] = web.Page(bytes(9 << 20), {"ETag": '"1"'})
        items = [{"file": f"{site.at}/large.bin", "target_path": "large.bin"}]
        path = configured(tmp_path, {"type": "url", "items": items})
        modules = loaded(tmp_path, "download", path)
    # fsspec's registry says which protocols there are.
    assert packages(modules) - VALIDATION - {"awscrt", "fsspec"} == {"urllib3"}
    assert modules & {"urllib.request", "fsspec.implementations.http"} == set()


def test_auto_loads_no_more_than_obstore_where_that_can_do_it(tmp_path: Path, s3: Store) -> None:
    items = [{"folder": "", "target_path": "."}]
    path = configured(tmp_path, s3.task(s3.new_bucket({"k": b"data"}), items))
    report = str(tmp_path / "report.json")
    modules = loaded(tmp_path, "download", path, "--report", report)
    assert packages(modules) - DOWNLOAD == set()
    (item,) = json.loads(Path(report).read_text())["items"]
    assert item["checksum"]["verified"]


def test_the_fsspec_engine_loads_no_obstore_and_no_other_sdk(tmp_path: Path, s3: Store) -> None:
    items = [{"folder": "", "target_path": "."}]
    path = configured(tmp_path, s3.task(s3.new_bucket({"k": b"data"}), items))
    modules = loaded(tmp_path, "download", path, "--engine", "fsspec")
    assert "s3fs" in packages(modules)
    others = {"adlfs", "azure", "boto3", "gcsfs", "google", "huggingface_hub", "obstore", "rich"}
    assert packages(modules) & others == set()
