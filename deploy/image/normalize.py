#!/usr/bin/env python3
"""Rewrites an archive of an image so that it depends on its contents alone: `normalize.py ARCHIVE RESULT`, both for `docker load`.

buildah records the random names of the container in which it built, and so each build would have another image ID, which is the
SHA-256 of the configuration. The layers are kept as they are.
"""

import hashlib
import io
import json
import sys
import tarfile


def main(source: str, result: str) -> None:
    with tarfile.open(source) as archive, tarfile.open(result, "w", format=tarfile.PAX_FORMAT) as written:
        [image] = json.loads(contents(archive, "manifest.json"))
        config = without_names(json.loads(contents(archive, image["Config"])))
        image["Config"] = f"{hashlib.sha256(config).hexdigest()}.json"
        add(written, image["Config"], config)
        for layer in image["Layers"]:
            add(written, layer, contents(archive, layer))
        add(written, "manifest.json", json.dumps([image], sort_keys=True).encode())


def contents(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file, f"{name} is no file"
    return file.read()


def without_names(config: dict[str, dict[str, str]]) -> bytes:
    config.pop("container", None)
    for record in ("config", "container_config"):
        config[record].pop("Hostname", None)
    return json.dumps(config, sort_keys=True).encode()


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # of root, mode 644, at the start of 1970
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    main(*sys.argv[1:])
