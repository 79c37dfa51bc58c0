"""``kaiwo doctor``: what a support thread asks first. No network, and no secret.

Each section is a mapping of names and values, for people and as JSON. Values that name a problem
are listed once more at the end.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from msgspec import to_builtins

from kaiwo import environment, redact, units
from kaiwo._version import __version__
from kaiwo.cli import results
from kaiwo.cli.addresses import addresses
from kaiwo.cli.identities import identities
from kaiwo.config import variables
from kaiwo.config.settings import PREFIX
from kaiwo.errors import ConfigError
from kaiwo.files import memory_limit, process_limits
from kaiwo.net import certificates, proxies
from kaiwo.tasks.registry import plugin_states

VERSION = 1
#: What reads bytes, and what it stands on.
_PACKAGES = (
    "obstore", "fsspec", "s3fs", "aiobotocore", "botocore", "gcsfs", "google-auth", "adlfs",
    "azure-identity", "azure-storage-blob", "huggingface_hub", "hf_xet", "aiohttp", "urllib3",
    "pydantic", "msgspec", "typer", "rich",
)  # fmt: skip
#: Which package each engine needs for which task type.
_ENGINES = {
    "obstore": {"s3": "obstore", "gcs": "obstore", "azure-blob": "obstore"},
    "fsspec": {"s3": "s3fs", "gcs": "gcsfs", "azure-blob": "adlfs"},
    "xet": {"hf": "hf_xet"},
}
Section = Mapping[str, object]


def doctor(*, as_json: bool) -> int:
    """Print the sections."""
    problems: list[str] = []
    with environment.cleaned():
        sections = {name: _section(name, make, problems) for name, make in _SECTIONS.items()}
    problems = list(dict.fromkeys(problems))
    if as_json:
        document = {
            "version": VERSION,
            "kaiwo_version": __version__,
            **sections,
            "problems": [redact.text(each) for each in problems],
        }
        results.show([redact.text(json.dumps(document, indent=2))])
    else:
        results.show(_lines(sections, problems))
    return 0


def _section(name: str, make: Callable[[list[str]], Section], problems: list[str]) -> Section:
    """A section; where it cannot be made, that is what a support thread wants to know."""
    try:
        return make(problems)
    except Exception as error:  # any: a library refuses its environment variables
        problems.append(f"{name}: {type(error).__name__}")  # its text may have a secret
        return {}


def _lines(sections: Mapping[str, Section], problems: list[str]) -> Iterator[str]:
    yield f"kaiwo {__version__}"
    for name, section in sections.items():
        yield ""
        yield name
        for key, value in section.items():
            yield f"  {key:<22} {_shown(value)}"
    yield ""
    if not problems:
        yield "no problem found"
    for problem in problems:
        yield f"problem: {_shown(problem)}"


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        words = [f"{value['found']}"]
        if sources := value["sources"]:
            words.append(f"({', '.join(sources)})")
        if problem := value["problem"]:
            words.append(f"- problem: {problem}")
        text = " ".join(words)
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, list | tuple):
        text = ", ".join(map(str, value)) or "none"
    else:
        text = "none" if value is None else str(value)
    return units.printable(redact.text(text))


def _of_python(_: list[str]) -> Section:
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "program": sys.executable,
        "system": platform.platform(),
        "encoding": sys.stdout.encoding,
    }


def _of_packages(_: list[str]) -> Section:
    return {name: _version_of(name) for name in _PACKAGES}


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _of_engines(_: list[str]) -> Section:
    return {
        engine: [task for task, package in needed.items() if _version_of(package) is not None]
        for engine, needed in _ENGINES.items()
    }


def _of_plugins(problems: list[str]) -> Section:
    """Task types of other packages; one that cannot be used is a problem of whoever wants it."""
    found = {}
    for plugin, fault in plugin_states():
        found[f"{plugin.name} ({plugin.package})"] = fault or plugin.path
        if fault:
            problems.append(f"task type {plugin.name} of {plugin.package}: {fault}")
    return found


def _of_certificates(problems: list[str]) -> Section:
    named = {name: os.environ[name] for name in environment.TRUST if os.environ.get(name)}
    for name, path in named.items():
        if not all(map(os.path.exists, path.split(os.pathsep))):
            problems.append(f"{name} names {path}, which does not exist")
    trusted: str | None
    try:
        trusted = certificates.named(None)
    except ConfigError as error:
        trusted = None
        problems.append(error.message)
    return {"trusted": trusted, **named}


def _of_proxies(problems: list[str]) -> Section:
    found: dict[str, object] = {}
    for scheme in ("https", "http"):
        try:
            # Reserved: no entry of no_proxy names it but one that names every host.
            proxy = proxies.proxy_for(f"{scheme}://kaiwo.invalid")
            found[scheme] = None if proxy is None else proxy.address
        except ConfigError as error:
            problems.append(error.message)
            found[scheme] = None
    names = ("no_proxy", "NO_PROXY")
    exceptions = next((os.environ[name] for name in names if os.environ.get(name)), None)
    return found | {"no_proxy": exceptions}


def _of_addresses(problems: list[str]) -> Section:
    """Variables that lead requests elsewhere; those that are not set are left out."""
    found = dict(addresses())
    problems += (f"{name}: {each.problem}" for name, each in found.items() if each.problem)
    return {name: each.shown for name, each in found.items()}


def _of_limits(_: list[str]) -> Section:
    limit, left = memory_limit.memory_limit(), memory_limit.memory_left()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "processors": process_limits.processors(),
        "memory_limit": None if limit is None else units.size(limit),
        "memory_left": None if left is None else units.size(left),
        "open_files": None if soft == resource.RLIM_INFINITY else soft,
        "open_files_at_most": None if hard == resource.RLIM_INFINITY else hard,
        "address_space_limited": process_limits.has_space_limit(),
        "requests_at_once": process_limits.most_requests(),
    }


def _of_settings(problems: list[str]) -> Section:
    """The names of variables; a value may be a path or an address that is nobody's business."""
    problems += (str(each).removeprefix("environment ") for each in variables.wrong())
    problems += (str(each).removeprefix("environment ") for each in variables.misspelled())
    names = sorted(name for name in os.environ if name.upper().startswith(PREFIX))
    return {"variables": names}


def _of_identities(problems: list[str]) -> Section:
    found = identities()
    problems += (f"{name}: {each.problem}" for name, each in found.items() if each.problem)
    return {name: to_builtins(each) for name, each in found.items()}


_SECTIONS: Mapping[str, Callable[[list[str]], Section]] = {
    "python": _of_python,
    "packages": _of_packages,
    "engines": _of_engines,
    "plugins": _of_plugins,
    "certificates": _of_certificates,
    "proxies": _of_proxies,
    "addresses": _of_addresses,
    "limits": _of_limits,
    "identity": _of_identities,
    "settings": _of_settings,
}
