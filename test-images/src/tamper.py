#!/usr/bin/env python3
"""Makes a tampered copy of a signed artifact, as an attacker without the key could.

    tamper.py ARTIFACT KIND IN OUT
    tamper.py --list

Each kind changes one thing and keeps everything else right, checksums without a key included: a
copy that is refused for a wrong CRC would prove nothing about its signature.
Standard library only, and no code in common with the signer.
"""

import hashlib
import struct
import sys

KINDS = {}


def kind(artifact, name, what):
    """Registers a function from bytes to bytes."""

    def register(function):
        KINDS[artifact, name] = (what, function)
        return function

    return register


class Impossible(Exception):
    """The artifact has not what was to be changed, for example no signature."""


def flip(data, offset):
    """Flips the lowest bit of one byte."""
    data[offset] ^= 1
    return data


# -- flattened device trees: FIT and control tree ------------------------------------------------

FDT_BEGIN_NODE, FDT_END_NODE, FDT_PROP, FDT_NOP, FDT_END = 1, 2, 3, 4, 9


class Tree:
    """Properties and nodes of a flattened device tree with their offsets, for edits in place.

    Source: Devicetree Specification 0.4, chapter 5.
    """

    def __init__(self, data):
        self.data = data
        magic, self.total, structure, strings = struct.unpack_from(">4I", data)
        if magic != 0xD00DFEED:
            raise Impossible("not a device tree")
        self.nodes = {}  # path -> (start, end)
        self.props = {}  # (path, name) -> (tag offset, value offset, length)
        path, starts, at = [], [], structure
        while True:
            (tag,) = struct.unpack_from(">I", data, at)
            if tag == FDT_BEGIN_NODE:
                end = data.index(b"\0", at + 4)
                path.append(data[at + 4 : end].decode())
                starts.append(at)
                at = (end + 4) & ~3
            elif tag == FDT_END_NODE:
                at += 4
                self.nodes["/".join(path) or "/"] = (starts.pop(), at)
                path.pop()
            elif tag == FDT_PROP:
                length, name = struct.unpack_from(">2I", data, at + 4)
                name = data[strings + name : data.index(b"\0", strings + name)].decode()
                self.props["/".join(path) or "/", name] = (at, at + 12, length)
                at = (at + 12 + length + 3) & ~3
            elif tag == FDT_NOP:
                at += 4
            elif tag == FDT_END:
                return
            else:
                raise Impossible(f"unknown tag at {at:#x}")

    def value(self, path, name):
        try:
            _, start, length = self.props[path, name]
        except KeyError:
            raise Impossible(f"{path} has no property {name}") from None
        return start, length

    def string(self, path, name):
        start, length = self.value(path, name)
        return bytes(self.data[start : start + length]).split(b"\0")[0].decode()

    def number(self, path, name):
        start, _ = self.value(path, name)
        return struct.unpack_from(">I", self.data, start)[0]

    def replace(self, path, name, old, new):
        """Replaces part of a value by as many bytes."""
        start, length = self.value(path, name)
        at = self.data.find(old, start, start + length)
        if at < 0 or len(old) != len(new):
            raise Impossible(f"{path}/{name} has no {old!r}")
        self.data[at : at + len(new)] = new

    def blank(self, start, end):
        """Overwrites a node or property with NOP tags, which every reader skips."""
        self.data[start:end] = struct.pack(">I", FDT_NOP) * ((end - start) // 4)

    def configuration(self):
        return "/configurations/" + self.string("/configurations", "default")

    def image(self, role):
        return "/images/" + self.string(self.configuration(), role)

    def signature(self):
        """The default configuration's first signature that has a value."""
        conf = self.configuration() + "/signature"
        for path, name in self.props:
            if name == "value" and path.startswith(conf):
                return path
        raise Impossible("the default configuration is not signed")

    def payload(self, image):
        """Offset and length of an image's data, embedded or external."""
        if (image, "data") in self.props:
            return self.value(image, "data")
        length = self.number(image, "data-size")
        if (image, "data-position") in self.props:
            return self.number(image, "data-position"), length
        return ((self.total + 3) & ~3) + self.number(image, "data-offset"), length


def fit_payload(data, role="kernel"):
    tree = Tree(data)
    start, length = tree.payload(tree.image(role))
    return flip(data, start + length // 2)


def rehash(data, image):
    """Puts the true hash of an image's data into its hash nodes."""
    tree = Tree(data)
    start, length = tree.payload(image)
    for path, name in tree.props:
        if name == "value" and path.startswith(image + "/hash"):
            digest = hashlib.new(tree.string(path, "algo"), data[start : start + length]).digest()
            at, _ = tree.value(path, "value")
            data[at : at + len(digest)] = digest


@kind("fit", "payload", "one bit of the kernel")
def _(data):
    return fit_payload(data)


@kind("fit", "fdt", "one bit of the device tree")
def _(data):
    return fit_payload(data, "fdt")


@kind("fit", "payload-rehashed", "one bit of the kernel, its hash made right again")
def _(data):
    fit_payload(data)
    rehash(data, Tree(data).image("kernel"))
    return data


@kind("fit", "signature", "one bit of the signature")
def _(data):
    tree = Tree(data)
    start, length = tree.value(tree.signature(), "value")
    return flip(data, start + length // 2)


@kind("fit", "algorithm", "another hash algorithm named for the signature")
def _(data):
    tree = Tree(data)
    path = tree.signature()
    algo = tree.string(path, "algo").encode()
    old, new = (b"sha256", b"sha384") if algo.startswith(b"sha256") else (algo[:6], b"sha256")
    tree.replace(path, "algo", old, new)
    return data


@kind("fit", "unsigned", "no signature nodes any more")
def _(data):
    tree = Tree(data)
    tree.signature()
    for path, (start, end) in tree.nodes.items():
        if path.rsplit("/", 1)[-1].startswith("signature"):
            tree.blank(start, end)
    return data


@kind("fit", "empty-signature", "the signature's value removed, its node kept")
def _(data):
    tree = Tree(data)
    path = tree.signature()
    start, value, length = tree.props[path, "value"]
    tree.blank(start, (value + length + 3) & ~3)
    return data


@kind("fit", "mixed", "the kernel of another, rightly signed configuration")
def _(data):
    tree = Tree(data)
    conf = tree.configuration()
    kernel = tree.string(conf, "kernel")
    for path in tree.nodes:
        if path.startswith("/configurations/conf") and path.count("/") == 2 and path != conf:
            other = tree.string(path, "kernel")
            if other != kernel and len(other) == len(kernel):
                tree.replace(conf, "kernel", kernel.encode(), other.encode())
                return data
    raise Impossible("no other configuration with another kernel")


@kind("fit", "load-address", "another load address of the kernel")
def _(data):
    tree = Tree(data)
    start, length = tree.value(tree.image("kernel"), "load")
    return flip(data, start + length - 2)


@kind("fit", "unlisted", "the kernel struck from the signed nodes' list, then changed")
def _(data):
    # U-Boot before March 2026 believed this list: the signature fails on such a verifier, because
    # the digest changes, and on a later one, because it makes its own list.
    tree = Tree(data)
    image = tree.image("kernel")
    conf = tree.configuration()
    tree.replace(tree.signature(), "hashed-nodes", (image + "\0").encode(), (conf[: len(image)] + "\0").encode())
    fit_payload(data)
    rehash(data, image)
    return data


@kind("control-dtb", "key", "one bit of the public key")
def _(data):
    tree = Tree(data)
    for path, name in tree.props:
        if path.startswith("/signature/") and name in ("rsa,modulus", "ecdsa,x-point"):
            start, length = tree.value(path, name)
            return flip(data, start + length // 2)
    raise Impossible("no public key")


@kind("control-dtb", "not-required", "the key no longer required, so that unsigned FITs boot")
def _(data):
    tree = Tree(data)
    found = False
    for (path, name), (start, value, length) in tree.props.items():
        if path.startswith("/signature/") and name == "required":
            tree.blank(start, (value + length + 3) & ~3)
            found = True
    if not found:
        raise Impossible("no required key")
    return data


# -- dm-verity -------------------------------------------------------------------------------------


def superblock(data):
    """Offset of the dm-verity superblock, which stands right after the data blocks.

    Source: struct verity_sb in cryptsetup's lib/verity/verity.c.
    """
    at = data.find(b"verity\0\0")
    while at >= 0:
        block_size, _, data_blocks = struct.unpack_from("<2IQ", data, at + 64)
        if at == data_blocks * block_size:
            return at
        at = data.find(b"verity\0\0", at + 1)
    raise Impossible("no superblock")


@kind("rootfs", "data", "one bit of a data block")
def _(data):
    return flip(data, superblock(data) // 2)


@kind("rootfs", "tree", "one bit of the hash tree's lowest level")
def _(data):
    return flip(data, len(data) - 4096)


@kind("rootfs", "salt", "one bit of the salt in the superblock")
def _(data):
    return flip(data, superblock(data) + 88)


@kind("root-hash", "value", "another root hash")
def _(data):
    data[0:1] = b"1" if data[0:1] != b"1" else b"2"
    return data


# -- signatures in DER -----------------------------------------------------------------------------

SHA256_OID = bytes.fromhex("0609608648016503040201")
SHA384_OID = bytes.fromhex("0609608648016503040202")


def cms_signature(data):
    # The signature is the last field of the last signer, unless unsigned attributes follow.
    return flip(data, len(data) - 8)


def cms_algorithm(data):
    if SHA256_OID not in data:
        raise Impossible("not made with SHA-256")
    return data.replace(SHA256_OID, SHA384_OID)


@kind("signature", "value", "one bit of the signature")
def _(data):
    return cms_signature(data)


@kind("signature", "algorithm", "SHA-384 named instead of SHA-256")
def _(data):
    return cms_algorithm(data)


@kind("signature", "unsigned", "an empty file in the signature's place")
def _(_data):
    return b""


# -- swupdate bundles ------------------------------------------------------------------------------


def read_cpio(data):
    """Members of a cpio archive in the formats newc and crc, as lists [header, name, content]."""
    members, at = [], 0
    while True:
        header = bytes(data[at : at + 110])
        if header[:6] not in (b"070701", b"070702"):
            raise Impossible(f"no cpio header at {at:#x}")
        fields = [int(header[6 + 8 * i : 14 + 8 * i], 16) for i in range(13)]
        size, name_size = fields[6], fields[11]
        name = bytes(data[at + 110 : at + 110 + name_size - 1]).decode()
        at = (at + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return members
        members.append([header[:6], fields, name, bytearray(data[at : at + size])])
        at = (at + size + 3) & ~3


def write_cpio(members):
    out = bytearray()

    def pad(to):
        out.extend(b"\0" * (-len(out) % to))

    for magic, fields, name, content in members + [[members[0][0], [0] * 13, "TRAILER!!!", b""]]:
        fields = list(fields)
        fields[6], fields[11] = len(content), len(name) + 1
        # Format crc: the sum of all bytes. Made right, or swupdate stops there.
        fields[12] = sum(content) & 0xFFFFFFFF if magic == b"070702" else 0
        out += magic + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        pad(4)
        out += content
        pad(4)
    pad(512)
    return out


def with_member(data, which, change):
    members = read_cpio(data)
    for member in members:
        if which(member[2]):
            member[3] = bytearray(change(member[3]))
            return write_cpio(members)
    raise Impossible("no such member")


def is_image(name):
    return not name.startswith("sw-description")


def is_description(name):
    return name == "sw-description"


def is_signature(name):
    return name == "sw-description.sig"


@kind("swu", "repacked", "unpacked and packed again, nothing changed")
def _(data):
    return write_cpio(read_cpio(data))


@kind("swu", "payload", "one bit of an image, its cpio checksum made right")
def _(data):
    return with_member(data, is_image, lambda c: flip(c, len(c) // 2))


@kind("swu", "description", "another version in sw-description")
def _(data):
    def change(content):
        if b"1.0.0" not in content:
            raise Impossible("sw-description has no version 1.0.0")
        return content.replace(b"1.0.0", b"9.9.9", 1)

    return with_member(data, is_description, change)


@kind("swu", "payload-rehashed", "one bit of an image, its SHA-256 made right again")
def _(data):
    members = read_cpio(data)
    image = next(m for m in members if is_image(m[2]))
    old = hashlib.sha256(image[3]).hexdigest().encode()
    flip(image[3], len(image[3]) // 2)
    new = hashlib.sha256(image[3]).hexdigest().encode()
    description = next(m for m in members if is_description(m[2]))
    if old not in description[3]:
        raise Impossible("sw-description has not the image's SHA-256")
    description[3] = description[3].replace(old, new)
    return write_cpio(members)


@kind("swu", "swapped", "two images under each other's name")
def _(data):
    members = read_cpio(data)
    images = [m for m in members if is_image(m[2])]
    if len(images) < 2:
        raise Impossible("fewer than two images")
    images[0][3], images[1][3] = images[1][3], images[0][3]
    return write_cpio(members)


@kind("swu", "signature", "one bit of sw-description.sig")
def _(data):
    return with_member(data, is_signature, cms_signature)


@kind("swu", "algorithm", "SHA-384 named instead of SHA-256 in the CMS")
def _(data):
    return with_member(data, is_signature, cms_algorithm)


@kind("swu", "unsigned", "no sw-description.sig")
def _(data):
    members = read_cpio(data)
    kept = [m for m in members if not is_signature(m[2])]
    if len(kept) == len(members):
        raise Impossible("no sw-description.sig")
    return write_cpio(kept)


# --------------------------------------------------------------------------------------------------


def main(arguments):
    if arguments == ["--list"]:
        for (artifact, name), (what, _function) in KINDS.items():
            print(f"{artifact}\t{name}\t{what}")
        return 0
    if len(arguments) != 4 or tuple(arguments[:2]) not in KINDS:
        print(__doc__, file=sys.stderr)
        return 2
    artifact, name, source, target = arguments
    with open(source, "rb") as file:
        original = file.read()
    try:
        tampered = KINDS[artifact, name][1](bytearray(original))
    except Impossible as reason:
        print(f"error: {source}: {reason}", file=sys.stderr)
        return 1
    # A copy that is no different would be accepted, and the test would blame the wrong side.
    if bytes(tampered) == original and name != "repacked":
        print(f"error: {source}: {artifact} {name} changed nothing", file=sys.stderr)
        return 1
    with open(target, "wb") as file:
        file.write(tampered)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
