"""Takes out of an environment what metaferry never loads: `python slim.py`, in the image's build only.

Tests and headers of packages, the parts of Arrow that speak Flight and S3 (every byte crosses
metaferry's own storage), and the descriptions of the hundreds of AWS services that are not
S3 or its sign-in. Never run it in an environment that anything else uses.
"""

from __future__ import annotations

import importlib
import shutil
import sysconfig
from pathlib import Path

#: What botocore needs to find credentials and to speak to S3.
AWS_SERVICES = frozenset({"s3", "signin", "sso", "sso-oidc", "sts"})

#: Globs below site-packages.
UNUSED = (
    "**/tests",
    "**/*.pyi",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.pxi",
    "pyarrow/include",
    "pyarrow/src",
    "pyarrow/*.h",
    "pyarrow/_flight.*",
    "pyarrow/_s3fs.*",
    "pyarrow/libarrow_flight.*",
    "pyarrow/libarrow_python_flight.*",
    "pyarrow/libarrow_s3.*",
    "**/__pycache__",
)

#: Imported afterwards: what fails here would fail in a run.
NEEDED = (
    "adlfs",
    "av",
    "duckdb",
    "gcsfs",
    "pyarrow.csv",
    "pyarrow.orc",
    "pyarrow.parquet",
    "pycurl",
    "s3fs",
)


def main() -> None:
    packages = Path(sysconfig.get_path("purelib"))
    before = size(packages)
    for pattern in UNUSED:
        for path in list(packages.glob(pattern)):
            remove(path)
    for service in (packages / "botocore/data").iterdir():
        if service.is_dir() and service.name not in AWS_SERVICES:
            remove(service)
    once(packages / "pyarrow")
    print(f"slim: {before >> 20} MiB of packages are {size(packages) >> 20} MiB now", flush=True)
    for name in NEEDED:
        importlib.import_module(name)


def once(folder: Path) -> None:
    """A wheel has no symbolic links, so it may hold a library under each of its names."""
    kept: dict[bytes, Path] = {}
    for path in sorted(folder.glob("*.so*"), key=lambda path: -len(path.name)):
        first = kept.setdefault(path.read_bytes(), path)
        if first is not path:
            path.unlink()
            path.symlink_to(first.name)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    main()
