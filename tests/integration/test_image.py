"""safe-run image: building from every kind of source, layers, the store, and archives that mean
harm."""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
import unittest

from archives import Image, entry, link, pack, symlink, tar
from harness import SAFE_RUN, SafeRunTest, policy, shell

ROOT = [entry("etc"), entry("etc/passwd", b"root:x:0:0::/:/bin/sh\napp:x:77:78::/:/bin/sh\n"),
        entry("etc/group", b"root:x:0:\nwheel:x:10:app\n"), entry("bin"),
        entry("bin/tool", b"tool" * 40000, mode=0o755, uid=5, gid=6),
        symlink("sbin", "bin"), link("bin/same", "bin/tool")]


class ImageTest(SafeRunTest):
    def setUp(self):
        super().setUp()
        self.store = self.env["SAFE_RUN_IMAGE_STORE"]

    def build(self, source, name="test", *options):
        return self.call("image", "build", name, "--from", source, *options)

    def built(self, source, name="test", *options):
        done = self.build(source, name, "--json", *options)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return json.loads(done.stdout)

    def build_archive(self, image, name="test"):
        return self.built("oci-archive:" + self.write("image.tar", image.archive()), name)

    def listing(self, image):
        """{path: the rest of its line} of what is in an image, as unsquashfs sees it."""
        done = subprocess.run(["unsquashfs", "-lln", image["path"]], capture_output=True, text=True,
                              check=True)
        found = {}
        for line in done.stdout.splitlines():
            match = re.match(r"(\S+) (\S+) +(\S+) (\S+ \S+) squashfs-root/?(.*)", line)
            if match:
                path = match.group(5).split(" -> ")
                found[path[0]] = (match.group(1), match.group(2), *path[1:])
        return found

    def content(self, image, path):
        return subprocess.run(["unsquashfs", "-cat", image["path"], path], capture_output=True,
                              check=True).stdout

    def files_of_store(self):
        return sorted(os.path.relpath(os.path.join(top, name), self.store)
                      for top, _, names in os.walk(self.store) for name in names if name != ".lock")

    def assert_refused(self, done, code, text):
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(code, done.stderr.decode())
        self.assertIn(text, done.stderr.decode())
        self.assertEqual(self.files_of_store(), [])


class Sources(ImageTest):
    def test_every_kind_of_archive_gives_the_same_image(self):
        digests = set()
        for compression in ("none", "gzip", "zstd"):
            image = Image(tar(*ROOT), compression=compression)
            digests.add(self.build_archive(image)["digest"])
            archive = self.write("docker.tar", image.docker_archive())
            digests.add(self.built("docker-archive:" + archive)["digest"])
            directory = self.path("layout-" + compression)
            for name, data in image.members().items():
                os.makedirs(os.path.dirname(os.path.join(directory, name)), exist_ok=True)
                with open(os.path.join(directory, name), "wb") as file:
                    file.write(data)
            digests.add(self.built("oci:" + directory)["digest"])
        for compression in ("none", "gzip", "xz", "zstd"):
            digests.add(self.built("tar:" + self.write("root.tar",
                                                       pack(tar(*ROOT), compression)))["digest"])
        self.assertEqual(len(digests), 1)

    def test_names_owners_modes_links_and_contents_are_kept(self):
        image = self.build_archive(Image(tar(*ROOT)))
        found = self.listing(image)
        self.assertEqual(found["bin/tool"][:2], ("-rwxr-xr-x", "5/6"))
        self.assertEqual(found["bin/same"], found["bin/tool"])
        self.assertEqual(found["sbin"], ("lrwxrwxrwx", "0/0", "bin"))
        self.assertEqual(self.content(image, "bin/same"), b"tool" * 40000)
        self.assertEqual((image["files"], image["symlinks"]), (3, 1))

    def test_names_are_bytes(self):
        names = ["caf\u00e9", "new\nline", "\udcff\udcfe", "a" * 255]
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            image = self.built("tar:" + self.write("root.tar",
                                                   tar(*(entry(name, b"x") for name in names),
                                                       form=form)))
            self.assertEqual(image["files"], len(names))
            self.assertEqual(self.content(image, "caf\u00e9"), b"x")

    def test_extended_attributes_are_kept_as_far_as_squashfs_has_them(self):
        headers = {"SCHILY.xattr.user.colour": "red", "SCHILY.xattr.system.other": "x"}
        plain = self.built("tar:" + self.write("root.tar", tar(entry("x", b"x"))))
        image = self.built("tar:" + self.write("root.tar",
                                               tar(entry("x", b"x", pax_headers=headers))), "other")
        counts = [subprocess.run(["unsquashfs", "-s", each["path"]], capture_output=True, text=True,
                                 check=True).stdout
                  for each in (plain, image)]
        self.assertIn("Xattrs are not stored", counts[0])
        self.assertIn("Number of xattr ids 1", counts[1])

    def test_a_sparse_file_is_as_long_as_it_was(self):
        os.makedirs(self.path("root"))
        with open(self.path("root/sparse"), "wb") as file:
            file.seek(50_000_000)
            file.write(b"end")
        subprocess.run(["tar", "--sparse", "-C", self.path("root"), "-cf", self.path("root.tar"),
                        "."], check=True)
        self.assertLess(os.path.getsize(self.path("root.tar")), 1_000_000)
        from_tar = self.built("tar:" + self.path("root.tar"))
        from_dir = self.built("dir:" + self.path("root"), "other")
        for image in (from_tar, from_dir):
            self.assertEqual(image["bytes"], 50_000_003)
            self.assertLess(image["imageBytes"], 100_000)
            self.assertEqual(self.content(image, "sparse")[-3:], b"end")

    def test_a_directory_is_packed_without_its_special_files(self):
        root = self.path("root")
        os.makedirs(root)
        os.mkfifo(os.path.join(root, "pipe"))
        self.write("root/file", "content")
        done = self.build("dir:" + root)
        self.assertEqual((done.returncode, done.stderr),
                         (0, b"safe-run: warning: pipe is a pipe and is left out\n"))

    def test_one_of_several_images_is_named(self):
        first, second = Image(tar(entry("one", b"1"))), Image(tar(entry("two", b"2")))
        manifests = []
        for image, name in ((first, "a"), (second, "b")):
            descriptor = json.loads(image.members()["index.json"])["manifests"][0]
            manifests.append({**descriptor,
                              "annotations": {"org.opencontainers.image.ref.name": name}})
        first.extra = second.members()
        first.extra["index.json"] = json.dumps({"manifests": manifests}).encode()
        path = self.write("both.tar", first.archive())
        self.assert_refused(self.build("oci-archive:" + path), "SR-OPS-107",
                            "2 images in the source; name one")
        self.assertEqual(list(self.listing(self.built(f"oci-archive:{path}:b"))), ["", "two"])

    def test_an_ordinary_user_can(self):
        if os.geteuid() != 0:
            self.skipTest("runs as one already")
        os.chmod(self.dir, 0o755)
        os.mkdir(self.path("theirs"))
        os.chown(self.path("theirs"), 1000, 1000)
        path = self.write("image.tar", Image(tar(*ROOT)).archive())
        ours = self.built("oci-archive:" + path)
        env = {**self.env, "SAFE_RUN_IMAGE_STORE": self.path("theirs/images")}
        done = subprocess.run([SAFE_RUN, "image", "build", "test", "--from", "oci-archive:" + path,
                               "--json"], env=env, user=1000,
                              group=1000, extra_groups=[], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertEqual(json.loads(done.stdout)["digest"], ours["digest"])


class Layers(ImageTest):
    def layered(self, *layers):
        return self.build_archive(Image(tar(*ROOT), *(tar(*layer) for layer in layers)))

    def test_a_later_layer_replaces_and_adds(self):
        image = self.layered([entry("etc/passwd", b"new"), entry("etc/more/deep", b"deep"),
                              entry("sbin", b"a file now")])
        found = self.listing(image)
        self.assertEqual(self.content(image, "etc/passwd"), b"new")
        self.assertEqual(self.content(image, "etc/more/deep"), b"deep")
        self.assertEqual(found["sbin"][0][0], "-")
        self.assertEqual(self.content(image, "bin/tool"), b"tool" * 40000)

    def test_whiteouts_remove_and_leave_no_trace(self):
        found = self.listing(self.layered([entry("etc/.wh.passwd", b""), entry(".wh.sbin", b""),
                                           entry("bin/.wh.tool", b"")]))
        self.assertEqual(sorted(found), ["", "bin", "bin/same", "etc", "etc/group"])

    def test_a_hard_link_keeps_the_content_that_its_first_name_lost(self):
        image = self.layered([entry("bin/tool", b"other")])
        self.assertEqual(self.content(image, "bin/tool"), b"other")
        self.assertEqual(self.content(image, "bin/same"), b"tool" * 40000)

    def test_an_opaque_directory_shows_only_what_is_above(self):
        for order in (1, -1):  # before or after what the layer adds
            entries = [entry("bin/.wh..wh..opq", b""), entry("bin/only", b"x")][::order]
            found = self.listing(self.layered([entry("bin"), *entries]))
            self.assertEqual([name for name in found if name.startswith("bin")],
                             ["bin", "bin/only"])

    def test_an_opaque_root_of_a_tree_hides_what_lies_deep(self):
        layers = [[entry("a/b/c/old", b"1")], [entry("a/.wh..wh..opq", b""),
                                               entry("a/b/new", b"2")],
                  [entry("a/b/c/newer", b"3")]]
        found = self.listing(self.layered(*layers))
        self.assertEqual([name for name in found if name.startswith("a")],
                         ["a", "a/b", "a/b/c", "a/b/c/newer", "a/b/new"])

    def test_a_whiteout_and_a_new_directory_of_the_same_name(self):
        for order in (1, -1):
            entries = [entry(".wh.etc", b""), entry("etc/mine", b"x")][::order]
            found = self.listing(self.layered(entries))
            self.assertEqual([name for name in found if name.startswith("etc")],
                             ["etc", "etc/mine"])

    def test_in_a_plain_tar_whiteouts_are_ordinary_names(self):
        image = self.built("tar:" + self.write("root.tar", tar(entry(".wh.x", b"1"))))
        self.assertEqual(sorted(self.listing(image)), ["", ".wh.x"])

    def test_devices_of_dev_are_left_out(self):
        done = self.build("tar:" + self.write("root.tar", tar(entry("dev"),
                                                              entry("dev/null",
                                                                    type=tarfile.CHRTYPE,
                                                                    devmajor=1,
                                                                                 devminor=3),
                                                              entry("x", b""))))
        self.assertEqual((done.returncode, done.stderr),
                         (0, b"safe-run: warning: 1 devices in /dev are left out\n"))


class Hostile(ImageTest):
    """What is refused, with its code, and that nothing is left of it."""

    def refused(self, code, text, *entries):
        image = Image(tar(*ROOT), tar(*entries))
        self.assert_refused(self.build("oci-archive:" + self.write("image.tar", image.archive())),
                            code, text)
        self.assertFalse(os.path.exists("/tmp/sr-escaped"))

    def test_names_that_lead_out(self):
        for name in ("../x", "etc/../../x", "a/..", "./../x"):
            self.refused("SR-OPS-103", "leads upwards", entry(name, b"x"))
        self.refused("SR-OPS-103", "is an absolute name", entry("/tmp/sr-escaped", b"x"))

    def test_names_through_symbolic_links(self):
        self.refused("SR-OPS-103", "goes through a symbolic link", entry("sbin/x", b"x"))
        self.refused("SR-OPS-103", "goes through a symbolic link", symlink("out", "/tmp"),
                     entry("out/sr-escaped", b"x"))
        self.refused("SR-OPS-103", "goes through something that is no directory",
                     entry("bin/tool/x", b"x"))

    def test_hard_links_that_lead_out(self):
        self.refused("SR-OPS-103", "is a hard link to an absolute name", link("x", "/etc/passwd"))
        self.refused("SR-OPS-103", "leads upwards", link("x", "../../etc/passwd"))
        self.refused("SR-OPS-103", "is a hard link to what is not there", link("x", "etc/nothing"))
        self.refused("SR-OPS-103", "is a hard link to a directory", link("x", "etc"))
        self.refused("SR-OPS-103", "goes through a symbolic link", link("x", "sbin/tool"))

    def test_devices(self):
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            self.refused("SR-OPS-104", "is a device outside of /dev",
                         entry("etc/disk", type=kind, devmajor=8, devminor=0))

    def test_entries_that_are_there_twice(self):
        self.refused("SR-OPS-106", "is there twice", entry("x", b"1"), entry("x", b"2"))
        self.refused("SR-OPS-106", "is there twice", entry("x", b"1"), entry("./x/", None))
        self.refused("SR-OPS-106", "is there twice", entry("x"), symlink("x", "/tmp"))

    def test_the_root_stays_a_directory(self):
        self.refused("SR-OPS-103", "would replace the root", symlink(".", "/"))

    def test_bombs(self):
        limit = ("--max-bytes", "1Mi")
        zeros = self.write("bomb.tar.gz", pack(tar(entry("zeros", bytes(64 << 20))), "gzip"))
        self.assertLess(os.path.getsize(zeros), 100_000)
        self.assert_refused(self.build("tar:" + zeros, "test", *limit), "SR-OPS-105", "is allowed")
        image = Image(tar(*(entry(f"zeros{i}", bytes(400_000))
                            for i in range(4))))  # each is small enough
        path = self.write("image.tar", image.archive())
        self.assert_refused(self.build("oci-archive:" + path, "test", *limit), "SR-OPS-105",
                            "allow")

    def test_a_sparse_file_of_a_terabyte(self):
        os.makedirs(self.path("root"))
        with open(self.path("root/huge"), "wb") as file:
            file.truncate(1 << 40)
        subprocess.run(["tar", "--sparse", "-C", self.path("root"), "-cf", self.path("root.tar"),
                        "."], check=True)
        started = time.monotonic()
        self.assert_refused(self.build("tar:" + self.path("root.tar")), "SR-OPS-105",
                            "./huge makes the image larger")
        self.assertLess(time.monotonic() - started, 10)

    def test_ten_million_entries(self):
        # Ten million headers, packed: 5 GB of tar in a few MB. Only as far as the limit is ever
        # read.
        block = b"".join(tar(entry(f"{i:07}", b""), form=tarfile.USTAR_FORMAT)[:512]
                         for i in range(1000))
        path = self.path("many.tar.gz")
        with open(path, "wb") as file, subprocess.Popen(["gzip", "-1"], stdin=subprocess.PIPE,
                                                        stdout=file) as gzip:
            for i in range(1001):
                directory = tar(entry(f"d{i:05}"), form=tarfile.USTAR_FORMAT)[:512]
                gzip.stdin.write(directory + rename(block, f"d{i:05}/"))
        self.assert_refused(self.build("tar:" + path), "SR-OPS-105", "more than 1000000 entries")

    def test_archives_that_are_cut_off(self):
        whole = tar(*ROOT)
        whole = whole[:len(whole.rstrip(b"\0"))
                      + 512]  # as little behind the last entry as there may be
        for name, data in (("tar", whole), ("gzip", pack(whole, "gzip")),
                           ("zstd", pack(whole, "zstd")), ("xz", pack(whole, "xz"))):
            for part in (0.2, 0.7, 0.9):
                cut = data[:int(len(data) * part)]
                with self.subTest(name=name, part=part):
                    self.assert_refused(self.build("tar:" + self.write("cut", cut)), "SR-OPS-101",
                                        "")
        self.assert_refused(self.build("tar:" + self.write("cut", whole[:1024])), "SR-OPS-101",
                            "cut off")
        archive = Image(tar(*ROOT)).archive().rstrip(b"\0")
        self.assert_refused(self.build("oci-archive:" + self.write("cut",
                                                                   archive[:len(archive) // 2])),
                            "SR-OPS-10", "")

    def test_what_is_no_archive(self):
        for data in (b"", b"hello", os.urandom(100_000), bytes(10240)):
            done = self.build("oci-archive:" + self.write("noise", data))
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr.decode(), "SR-OPS-10[17]")
        self.assertEqual(self.files_of_store(), [])

    def test_a_layer_that_does_not_have_its_digest(self):
        image = Image(tar(*ROOT))
        other = pack(tar(*ROOT, entry("evil", b"x")), "gzip")
        for pad in (0, len(image.layers[0]) - len(other)):  # of another size, and of the same
            broken = Image(tar(*ROOT))
            broken.layers = [other + bytes(max(pad, 0))]
            self.assert_refused(self.build("oci-archive:"
                                           + self.write("image.tar", broken.archive())),
                                "SR-OPS-102", "layer 1")
        image.config["rootfs"]["diff_ids"] = ["sha256:" + "0" * 64]
        self.assert_refused(self.build("oci-archive:" + self.write("image.tar", image.archive())),
                            "SR-OPS-102", "uncompressed")
        self.assert_refused(self.build("docker-archive:"
                                       + self.write("image.tar", image.docker_archive())),
                            "SR-OPS-102",
                            "uncompressed")

    def test_a_manifest_or_configuration_that_does_not_have_its_digest(self):
        for member in range(2):
            image = Image(tar(*ROOT))
            name = [name for name, data in image.members().items() if name.startswith("blobs/")
                    and data[:1] == b"{"][member]
            image.extra = {name: image.members()[name] + b" "}
            self.assert_refused(self.build("oci-archive:"
                                           + self.write("image.tar", image.archive())),
                                "SR-OPS-102", "has the digest")

    def test_descriptions_that_make_no_sense(self):
        def broken(change):
            image = Image(tar(*ROOT))
            change(image)
            return self.build("oci-archive:" + self.write("image.tar", image.archive()))
        changes = {
            "no list of manifests": lambda image: image.extra.update({"index.json": b"{}"}),
            "not JSON": lambda image: image.extra.update({"index.json": b"{"}),
            "is not a sha256": lambda image: image.extra.update({"index.json": json.dumps(
                {"manifests": [{"digest": "sha256:../../../etc/passwd"}]}).encode()}),
            "no image for linux/amd64": lambda image: image.extra.update({"index.json": json.dumps(
                {"manifests": [{"digest": "sha256:" + "0" * 64,
                                "platform": {"architecture": "arm64", "os": "linux"}}]}).encode()}),
            "which is no tar": lambda image: image.descriptors[0].update(
                mediaType="application/vnd.oci.image.layer.v1.tar+encrypted"),
            "has no size": lambda image: image.descriptors[0].pop("size"),
            "1 to 512 layers": lambda image: image.descriptors.clear(),
            "knows 2 layers": lambda image: image.config["rootfs"]["diff_ids"].append(
                "sha256:" + "0" * 64),
        }
        for text, change in changes.items():
            with self.subTest(text=text):
                self.assert_refused(broken(change), "SR-OPS-107", text)

    def test_a_layer_that_is_not_there(self):
        image = Image(tar(*ROOT))
        image.layers = []
        self.assert_refused(self.build("oci-archive:" + self.write("image.tar", image.archive())),
                            "SR-OPS-101", "not in the source")


def rename(headers, prefix):
    """The same empty files below another directory: names and checksums of 512-byte headers."""
    out = bytearray(headers)
    for at in range(0, len(out), 512):
        name = prefix.encode() + out[at:at + 7]
        out[at:at + len(name)] = name
        out[at + 148:at + 156] = b" " * 8
        out[at + 148:at + 156] = b"%06o\0 " % sum(out[at:at + 512])
    return bytes(out)


class Store(ImageTest):
    def test_a_failed_build_leaves_the_old_image(self):
        first = self.built("tar:" + self.write("root.tar", tar(*ROOT)))
        self.assertEqual(self.build("tar:" + self.write("bad.tar",
                                                        tar(entry("../x", b"")))).returncode, 1)
        self.assertEqual(json.loads(self.call("image", "inspect", "test", "--json").stdout), first)

    def test_names_list_and_go(self):
        source = "tar:" + self.write("root.tar", tar(*ROOT))
        self.built(source, "one")
        self.built(source, "two:3.12")
        names = [image["name"] for image in json.loads(self.call("image", "ls", "--json").stdout)]
        self.assertEqual(names, ["one", "two:3.12", "base"])
        self.assertEqual(self.call("image", "rm", "one").returncode, 0)
        self.assertEqual(len(self.files_of_store()), 2)  # the other name still has it
        self.assertEqual(self.call("image", "rm", "two:3.12").returncode, 0)
        self.assertEqual(self.files_of_store(), [])
        self.assertIn(b"SR-OPS-109", self.call("image", "rm", "one").stderr)

    def test_prune_removes_what_has_no_name(self):
        self.built("tar:" + self.write("root.tar", tar(*ROOT)))
        kept = self.built("tar:" + self.write("other.tar", tar(entry("x", b"x"))))
        dry = json.loads(self.call("image", "prune", "--dry-run", "--json").stdout)
        self.assertEqual(dry["count"], 1)
        self.assertEqual(json.loads(self.call("image", "prune", "--json").stdout), dry)
        self.assertEqual(json.loads(self.call("image", "prune", "--json").stdout),
                         {"bytes": 0, "count": 0})
        self.assertTrue(os.path.exists(kept["path"]))

    def test_verify_finds_a_changed_byte_and_the_next_build_repairs_it(self):
        image = self.built("tar:" + self.write("root.tar", tar(*ROOT)))
        self.assertEqual(self.call("image", "verify").returncode, 0)
        with open(image["path"], "rb") as file:
            data = bytearray(file.read())
        data[200] ^= 1
        os.unlink(image["path"])
        with open(image["path"], "wb") as file:
            file.write(data)
        done = self.call("image", "verify", "--json", "test")
        self.assertEqual((done.returncode, json.loads(done.stdout)[0]["valid"]), (2, False))
        self.built("tar:" + self.path("root.tar"))
        self.assertEqual(self.call("image", "verify").returncode, 0)

    def test_a_full_store(self):
        os.makedirs(self.store)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", self.store], check=True)
        self.addCleanup(subprocess.run, ["umount", self.store], check=True)
        os.chmod(self.store, 0o755)
        os.mkdir(self.path("tree"))
        data = self.write("tree/data", os.urandom(4 << 20))
        with open(data, "rb") as file:
            archive = self.write("root.tar", tar(entry("data", file.read())))
        for source in ("dir:" + self.path("tree"), "tar:" + archive):
            self.assert_refused(self.build(source), "SR-OPS-108 image:", "No space left on device")

    def test_a_store_that_cannot_be_read_is_not_an_empty_one(self):
        self.assertEqual([image["name"]
                          for image in json.loads(self.call("image", "ls", "--json").stdout)],
                         ["base"])
        self.env["SAFE_RUN_IMAGE_STORE"] = os.path.join(self.write("file", ""), "images")
        for command in (("ls",), ("prune",), ("verify",)):
            self.assert_refused(self.call("image", *command), "SR-OPS-108 image.store",
                                "cannot be read: Not a directory")
        self.assertEqual(self.run_policy(policy("/bin/true")).status,
                         0)  # base is beside the program

    def test_the_image_that_comes_with_safe_run_is_one_too(self):
        shown = json.loads(self.call("image", "inspect", "base", "--json").stdout)
        self.assertEqual((shown["source"]["kind"], shown["files"]), ("built-in", None))
        with open(shown["path"], "rb") as file:
            self.assertEqual(shown["digest"], "sha256:" + hashlib.sha256(file.read()).hexdigest())
        self.assertRegex(self.call("image", "ls").stdout.decode(),
                         r"\nbase +sha256:[0-9a-f]{12} .* built-in\n")
        self.built("tar:" + self.write("root.tar", tar(*ROOT)), "base")  # a store's goes before it
        self.assertEqual(json.loads(self.call("image", "inspect", "base",
                                              "--json").stdout)["source"]["kind"], "tar")
        self.assertEqual(len(json.loads(self.call("image", "ls", "--json").stdout)), 1)
        self.assertEqual(self.call("image", "inspect", "nosuch").returncode, 1)

    def test_a_registry_is_not_asked_and_the_way_is_named(self):
        self.assert_refused(self.build("docker://python:3"), "SR-OPS-101 image.source",
                            "skopeo copy docker://python:3 oci-archive:image.tar")

    def test_names_that_are_none(self):
        source = "tar:" + self.write("root.tar", tar(*ROOT))
        for name in ("", "../x", "a/b", ".hidden", "x@y", "a b", "x" * 129):
            done = self.build(source, name)
            self.assertEqual((done.returncode, b"SR-OPS-109" in done.stderr), (1, True), name)

    def test_concurrent_builds_and_removals(self):
        sources = [self.write(f"{i}.tar", tar(*ROOT, entry("n", str(i % 3).encode())))
                   for i in range(9)]
        running = [subprocess.Popen([SAFE_RUN, "image", "build", f"n{i % 2}", "--from", "tar:"
                                     + source], env=self.env,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE) for i,
                   source in enumerate(sources)]
        running += [subprocess.Popen([SAFE_RUN, "image", "prune"], env=self.env,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                    for _ in range(4)]
        for process in running:
            out, err = process.communicate(timeout=120)
            self.assertEqual((process.returncode, err), (0, b""), out)
        self.assertEqual(self.call("image", "verify").returncode, 0)
        self.call("image", "prune")
        self.assertEqual(len(json.loads(self.call("image", "ls", "--json").stdout)),
                         2 + 1)  # and base

    def test_a_build_that_is_killed_leaves_nothing(self):
        source = self.write("big.tar.gz", pack(tar(entry("big", os.urandom(1 << 20) * 200)),
                                               "none"))
        process = subprocess.Popen([SAFE_RUN, "image", "build", "test", "--from", "tar:" + source],
                                   env=self.env)
        self.wait_for(lambda: self.children(process.pid))
        worker = self.children(process.pid)[0]
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.wait_for(lambda: self.age_of(worker) is None, 5)
        self.assertEqual([name for name in self.files_of_store() if name.startswith("names/")], [])

    def test_a_worker_that_is_killed_is_an_error(self):
        source = self.write("big.tar", tar(entry("big", os.urandom(1 << 20) * 200)))
        process = subprocess.Popen([SAFE_RUN, "image", "build", "test", "--from", "tar:" + source],
                                   env=self.env,
                                   stderr=subprocess.PIPE)
        self.wait_for(lambda: self.children(process.pid))
        os.kill(self.children(process.pid)[0], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"SR-OPS-101 image.source: the image's builder was ended by signal 9", err)
        self.assertEqual(self.files_of_store(), [])


class OfTheSystem(ImageTest):
    """Root's images, where nobody names another store: everybody's."""

    def run_scripts(self, *scripts):
        """As root and as others, on a host where safe-run has never run."""
        if os.geteuid() != 0:
            self.skipTest("needs root")
        os.chmod(self.dir, 0o711)
        env = {name: value for name, value in self.env.items()
               if name not in ("SAFE_RUN_IMAGE_STORE", "SAFE_RUN_WORKDIR_BASE")}
        start = ('set -e; umask 022; mount -t tmpfs -o mode=755 none /var/lib; '
                 'mkdir -p -m 777 "$HOME/home"\n')
        others = ('others() { HOME="$HOME/home" '
                  'setpriv --reuid=12345 --regid=12345 --clear-groups "$@"; }\n')
        done = subprocess.run(["unshare", "-m", "sh", "-c", start + others + "\n".join(scripts),
                               "sh", SAFE_RUN], env=env,
                              capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    def setUp(self):
        super().setUp()
        self.source = "tar:" + self.write("root.tar", tar(entry("x", b"x")))
        self.policy = self.write_policy(policy("/bin/true"))

    def test_others_can_use_them_after_a_run_of_roots(self):
        """Which makes /var/lib/safe-run: its runs are nobody else's business, what is beside them
        is."""
        status, stdout, stderr = self.run_scripts(f'"$1" run --policy {self.policy}; "$1" image '
                                                  f'build shared --from {self.source}',
                                                  'others "$1" image inspect shared; stat -c %a '
                                                  '/var/lib/safe-run /var/lib/safe-run/runs')
        self.assertEqual((status, stderr), (0, ""), stdout)
        self.assertIn("shared", stdout)
        self.assertEqual(stdout.splitlines()[-2:], ["755", "700"])

    def test_a_store_that_cannot_be_read_is_named(self):
        closed = (f'"$1" image build shared --from {self.source} > /dev/null; '
                  'chmod 700 /var/lib/safe-run')
        for ask, text in (('others "$1" image inspect shared', "there is no image shared"),
                          ('export SAFE_RUN_IMAGE_STORE=/var/lib/safe-run/images; others "$1" '
                           'image ls', "the image store")):
            status, stdout, stderr = self.run_scripts(closed, ask)
            self.assertEqual((status, stdout), (1, ""), ask)
            self.assertIn(text, stderr)
            self.assertRegex(stderr,
                             "/var/lib/safe-run/images cannot be (opened|read): Permission denied")


class Configuration(ImageTest):
    CONFIG = {"Env": ["PATH=/bin", "GREETING=hello", "BOTH=image"], "WorkingDir": "/etc",
              "User": "app:wheel",
              "Entrypoint": ["/bin/tool"], "Cmd": ["--help"]}

    def test_names_of_users_are_resolved_by_the_images_own_files(self):
        users = {"app": (77, 78), "app:wheel": (77, 10), "77": (77, 78), "500": (500, 500),
                 "500:wheel": (500, 10), "5:6": (5, 6)}
        for user, ids in users.items():
            for layers in ([tar(*ROOT)], [tar(*ROOT), tar(entry("x", b""))]):
                config = self.build_archive(Image(*layers, config={"User": user}))["config"]
                self.assertEqual((config["user"]["uid"], config["user"]["gid"]), ids, user)

    def test_what_makes_no_sense_is_left_out_with_a_warning(self):
        image = Image(tar(*ROOT), config={"User": "nobody-knows", "WorkingDir": "relative",
                                          "Env": ["A=1", "no-equals", "=x", 5]})
        done = self.build("oci-archive:" + self.write("image.tar", image.archive()), "test",
                          "--json")
        config = json.loads(done.stdout)["config"]
        self.assertEqual((config["user"], config["workdir"], config["env"]), (None, None, ["A=1"]))
        self.assertEqual(done.stderr.count(b"warning"), 5)

    def base_with(self, config, *layers):
        """The image that comes with safe-run, as an OCI image of this configuration, with layers
        above it."""
        image = os.path.join(os.environ["SR_BUILD"], "artifacts", "images", "base.img")
        subprocess.run(["unsquashfs", "-q", "-n", "-d", self.path("base"), image], check=True,
                       capture_output=True)
        done = subprocess.run(["tar", "--owner=0", "--group=0", "--numeric-owner", "-C",
                               self.path("base"), "-c", "."],
                              check=True, capture_output=True)
        return self.build_archive(Image(done.stdout, *layers, config=config))

    def test_defaults_take_effect_where_the_policy_is_silent(self):
        image = self.base_with({**self.CONFIG, "User": "1234:77"})
        script = "echo $GREETING $BOTH $PATH; pwd; id -u; id -g"
        run = self.run_policy(shell(script, image="test", env={"BOTH": "policy"}))
        self.assertEqual(run.stdout.decode().split("\n"), ["hello policy /bin", "/etc", "1234",
                                                           "77", ""], run.stderr)
        prepared = run.events("run.prepared")[0]
        self.assertEqual(prepared["image"], {"name": "test", "from": "store",
                                             "digest": image["digest"]})
        self.assertEqual(prepared["runtime"], {"imageEnv": ["PATH=/bin", "GREETING=hello"],
                                               "user": "1234:77", "userFrom": "image",
                                               "workdir": "/etc", "workdirFrom": "image"})
        self.assertEqual(run.report["artifacts"]["rootfsHash"], image["digest"])
        first = run.report_path
        for view in ("show", "html"):  # what ran, and what was asked where that is something else
            text = self.call("report", view, first).stdout.decode()
            for words in ("1234:77 (by the image; the default of the policy is 1000:1000)",
                          "/etc (by the image; the default of the policy is /)", "BOTH=policy",
                          "PATH=/bin, GREETING=hello"):
                self.assertIn(words, text)
        run = self.run_policy(shell(script, image="test", workdir="/", user="1000:1000"))
        shown = self.call("report", "show", run.report_path).stdout.decode()
        self.assertRegex(shown, r"user +1000:1000\n +directory +/\n")
        differs = self.call("report", "diff", first, run.report_path).stdout.decode()
        for words in ("user: 1234:77, then 1000:1000", "directory: /etc, then /\n",
                      "variables: BOTH=policy, then none"):
            self.assertIn(words, differs)
        self.assertEqual(run.stdout.decode().split("\n"), ["hello image /bin", "/", "1000", "1000",
                                                           ""], run.stderr)
        self.assertEqual(run.events("run.prepared")[0]["runtime"]["userFrom"], "policy")
        explained = self.call("policy", "explain",
                              self.write_policy(shell("x", image="test"))).stdout.decode()
        for text in ("in /etc, as the image has it",
                     "user 1234:77 of the guest, as the image has it",
                     "would run /bin/tool --help"):
            self.assertIn(text, explained)

    def test_the_guest_sees_extended_attributes(self):
        with open(os.path.join(os.environ["SR_BUILD"], "tests", "guests", "attribute"),
                  "rb") as file:
            probe = entry("attribute", file.read(), mode=0o755)
        marked = entry("marked", b"x", pax_headers={"SCHILY.xattr.user.colour": "red"})
        self.base_with({}, tar(probe, marked))
        for disk in ("0", "16Mi"):  # the image itself, and with an overlay above it
            run = self.run_policy(policy("/attribute", "/marked", "user.colour", image="test",
                                         disk=0 if disk == "0" else disk))
            self.assertEqual((run.status, run.stdout), (0, b"red\n"), run.stderr)

    def test_an_image_never_makes_a_command_root(self):
        self.base_with({"User": "root"})
        run = self.run_policy(shell("id -u", image="test"))
        self.assertEqual(run.stdout, b"1000\n", run.stderr)

    def test_the_normal_form_is_the_same_with_and_without_the_image(self):
        document = self.write_policy(policy("/bin/true", image="test"))
        before = self.call("validate", "--format", "json", document).stdout
        self.build_archive(Image(tar(*ROOT), config=self.CONFIG))
        self.assertEqual(self.call("validate", "--format", "json", document).stdout, before)


class FromNothing(ImageTest):
    def test_an_image_of_one_program_runs(self):
        """Without /proc, /sys and /dev: layers of a tool that builds from nothing."""
        with open("/bin/busybox", "rb") as file:
            image = self.built("tar:" + self.write("root.tar",
                                                   tar(entry("sh", file.read(), mode=0o755))))
        self.assertEqual(sorted(self.listing(image)), ["", "sh"])
        script = ("echo /*; read self rest < /proc/self/stat && echo x > /dev/null "
                  "&& echo /sys/devices; echo x > /new || echo $?")
        for disk in (0, "16Mi"):
            run = self.run_policy(policy("/sh", "-c", script, image="test", disk=disk))
            self.assertEqual(run.status, 0, run.stderr)
            self.assertEqual(run.stdout.decode().splitlines(), ["/dev /proc /sh /sys"
                                                                + (" /tmp" if disk else ""),
                                                                "/sys/devices", "1"])


class Missing(ImageTest):
    def test_an_image_that_is_not_there_says_how_to_make_one(self):
        run = self.run_policy(policy("/bin/true", image="none"))
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-002"))
        self.assertIn("there is no image none, neither in a store nor at ", run.failure[1])
        self.assertIn("safe-run image build makes one", run.failure[1])


class Pinned(ImageTest):
    def refused(self, image, text):
        run = self.run_policy(policy("/bin/true", image=image))
        self.assertEqual(run.status, 125)
        self.assertEqual(run.failure[0], "SR-RUN-002")
        self.assertIn(text, run.failure[1])
        self.assertIn(b"launch.preflight.image", run.stderr)

    def test_a_pinned_digest_has_to_be_the_images(self):
        image = self.built("tar:" + self.write("root.tar", tar(*ROOT)))
        self.refused("test@sha256:" + "0" * 64, "the policy pins")
        self.refused("base@sha256:" + "0" * 64, "the policy pins")
        run = self.run_policy(policy("/nothing", image="test@" + image["digest"]))
        self.assertEqual(run.report["artifacts"]["rootfsHash"], image["digest"])

    def allow(self, directory):
        self.env["SAFE_RUN_MOUNT_ALLOWLIST"] = self.write(
            "allow.yaml", "schemaVersion: safe-run.mount-allowlist/v1\n"
                          f"hostAllowPrefixes: [{directory}]\nguestAllowPrefixes: []\n")

    def test_a_path_can_be_pinned_too(self):
        image = self.built("tar:" + self.write("root.tar", tar(*ROOT)))
        self.allow(self.env["SAFE_RUN_IMAGE_STORE"])
        self.refused(image["path"] + "@sha256:" + "0" * 64, "the policy pins")

    def test_a_path_is_judged_by_the_mount_allowlist(self):
        """Else a policy could show its guest any disk image that the caller can read."""
        base = os.path.join(os.environ["SR_BUILD"], "artifacts", "images", "base.img")
        os.mkdir(self.path("allowed"))
        image = os.path.join(self.path("allowed"), "copy.img")
        shutil.copy(base, image)
        self.allow(self.path("allowed"))
        run = self.run_policy(shell("echo here", image=image))
        self.assertEqual((run.status, run.stdout), (0, b"here\n"), run.stderr)
        os.symlink(base, self.path("allowed/link"))
        for path in (base, self.path("allowed/link"), "/etc/passwd"):
            done = self.call("run", "--policy", self.write_policy(shell("echo here", image=path)))
            self.assertEqual((done.returncode, done.stdout), (125, b""))
            self.assertIn(b"runtime.image: what this resolves to is outside the host allowlist",
                          done.stderr)

    def test_an_image_that_was_changed_behind_the_stores_back(self):
        image = self.built("tar:" + self.write("root.tar", tar(*ROOT)))
        os.chmod(image["path"], 0o644)
        with open(image["path"], "r+b") as file:
            file.seek(200)
            byte = file.read(1)
            file.seek(200)
            file.write(bytes([byte[0] ^ 1]))
        self.refused("test", "was changed")

    def test_the_hash_of_a_stored_image_costs_no_read(self):
        root = self.path("root")
        os.makedirs(root)
        with open(os.path.join(root, "big"), "wb") as file:
            for _ in range(48):
                file.write(os.urandom(1 << 20))
        image = self.built("dir:" + root)
        done = subprocess.run(["strace", "-f", "-e", "trace=read,pread64", "-P", image["path"],
                               "-o", self.path("trace"), SAFE_RUN, "run",
                               "--policy", self.write_policy(policy("/nothing", image="test"))],
                              env=self.env, capture_output=True,
                              timeout=120)
        with open(self.path("trace"), encoding="utf-8", errors="replace") as file:
            reads = [int(line.rsplit("=", 1)[1]) for line in file
                     if re.search(r"read.*= \d+$", line)]
        self.assertLess(sum(reads), image["imageBytes"] / 4, done.stderr)


if __name__ == "__main__":
    unittest.main()
