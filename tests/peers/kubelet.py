"""What the kubelet of Kubernetes does on a node."""

from pathlib import Path


def mount(directory: Path, version: str, **files: str) -> None:
    """Writes the files as the kubelet does: into a new directory, to which it then switches the link `..data`."""
    fresh = directory / f"..{version}"
    fresh.mkdir(parents=True)
    for name, text in files.items():
        (fresh / name).write_text(text)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    (directory / "..data_tmp").symlink_to(fresh.name)
    (directory / "..data_tmp").rename(directory / "..data")
