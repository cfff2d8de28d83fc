"""Archives of images, good and hostile, as bytes."""
import gzip
import hashlib
import io
import json
import lzma
import subprocess
import tarfile


def entry(name, content=None, **fields):
    """A member of a tar: a file when there is content, else what fields says (type, linkname, mode,
    uid, ...)."""
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = 0o644, 1600000000
    if content is None and "type" not in fields:
        fields["type"], info.mode = tarfile.DIRTYPE, 0o755
    for key, value in fields.items():
        setattr(info, key, value)
    if content is not None:
        info.size = len(content)
    return info, content


def link(name, to):
    return entry(name, type=tarfile.LNKTYPE, linkname=to)


def symlink(name, to):
    return entry(name, type=tarfile.SYMTYPE, linkname=to, mode=0o777)


def tar(*entries, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content) if content is not None else None)
    return out.getvalue()


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def pack(data, how):
    if how == "gzip":
        return gzip.compress(data, mtime=0)
    if how == "xz":
        return lzma.compress(data)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE,
                              check=True).stdout
    return data


class Image:
    """An OCI image of layers (each the bytes of a tar), with everything in reach to be broken
    before it is written."""

    def __init__(self, *layers, config=None, compression="gzip"):
        kind = {"gzip": "+gzip", "zstd": "+zstd"}.get(compression, "")
        self.layers = [pack(layer, compression) for layer in layers]
        self.config = {"architecture": "amd64", "os": "linux", "config": config or {},
                       "rootfs": {"type": "layers", "diff_ids": [sha256(layer)
                                                                 for layer in layers]}}
        self.descriptors = [{"mediaType": "application/vnd.oci.image.layer.v1.tar" + kind,
                             "digest": sha256(layer),
                             "size": len(layer)} for layer in self.layers]
        self.index = None
        self.extra = {}

    def members(self):
        config = json.dumps(self.config).encode()
        manifest = json.dumps({"schemaVersion": 2,
                               "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                                                              "digest": sha256(config),
                                          "size": len(config)},
                               "layers": self.descriptors}).encode()
        index = self.index or {"schemaVersion": 2, "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sha256(manifest),
             "size": len(manifest)}]}
        members = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
                   "index.json": json.dumps(index).encode()}
        for descriptor, layer in zip(self.descriptors, self.layers):
            members["blobs/sha256/" + descriptor["digest"][7:]] = layer
        for blob in (config, manifest):
            members["blobs/sha256/" + sha256(blob)[7:]] = blob
        members.update(self.extra)
        return members

    def archive(self):
        return tar(*(entry(name, data) for name, data in self.members().items()))

    def docker_archive(self):
        """The same as `docker save` writes it: layers uncompressed or not, their digests in the
        configuration only."""
        config = json.dumps(self.config).encode()
        members = {sha256(config)[7:] + ".json": config}
        names = []
        for number, layer in enumerate(self.layers):
            names.append(f"{number:064x}/layer.tar")
            members[names[-1]] = layer
        members["manifest.json"] = json.dumps([{"Config": sha256(config)[7:] + ".json",
                                                "RepoTags": ["x/y:1"],
                                                "Layers": names}]).encode()
        return tar(*(entry(name, data) for name, data in members.items()))
