"""One call of s3fs, whose asyncio engine reads the files.

python s3fs_get.py copy|list URL BUCKET TARGET ENDING
"""

import sys

import s3fs


def main(verb: str, url: str, bucket: str, target: str, ending: str) -> None:
    """Copy all of a bucket, or print the keys that end so."""
    filesystem = s3fs.S3FileSystem(endpoint_url=url)
    if verb == "list":
        print("\n".join(path for path in filesystem.find(bucket) if path.endswith(ending)))
    else:
        filesystem.get(f"{bucket}/", f"{target}/", recursive=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
