"""Builds rpk files as imx500-package writes them: blocks, then a cpio archive."""

import struct

VERSION = b"0314150000000000"


def an_info(*, networks=1, **changes: object) -> bytes:
    """network_info.txt; a change of None leaves the line out."""
    lines = ["networkID=000000", "apParamSize=604", f"networkNum={networks}"]
    for ordinal in range(networks):
        values: dict[str, object] = {
            "networkOrdinal": ordinal,
            "inputTensorWidth": 96,
            "inputTensorHeight": 96,
            "inputTensorFormat": "RGB",
            **{f"inputTensorNorm_{name}": "0x0000" for name in ("K02", "K03", "K13", "K20", "K23")},
            **{f"inputTensorNorm_{name}": "0x0400" for name in ("K00", "K11", "K22")},
            "inputTensorNorm_YGain": "0x0020",
            "inputTensorNorm_YAdd": "0x0000",
            "outputTensorNum": 1,
            "outputTensorDimSize1": 9216,
            "outputTensorBytesPerElement1": 1,
            "outputTensorPadding1": 0,
        }
        lines += [f"{key}={value}" for key, value in (values | changes).items() if value is not None]
    return "\n".join(lines).encode() + b"\n"


def a_block(data: bytes, number: int, total: int, *, coded: bool = False) -> bytes:
    header = struct.pack(">4sIHH", b"9464", len(data), total, number) + bytes([0, 0, int(coded), 0])
    code = b"\x5a" * 32 if coded else b""
    return header.ljust(32, b"\0") + data + b"3695".rjust(32, b"\0") + code


def some_blocks(body: bytes = b"\1\2\3\4" * 300, *, size: int = 1024, coded: bool = False, version: bytes = VERSION) -> bytes:
    data = bytes(16) + version + body
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(a_block(part, number, len(parts), coded=coded) for number, part in enumerate(parts, 1))


def a_cpio_file(name: str, content: bytes, *, ino: int = 1) -> bytes:
    values = [ino, 0o100644, 1000, 1000, 1, 0x65000000, len(content), 8, 1, 0, 0, len(name) + 1, 0]
    head = b"070701" + "".join(f"{value:08X}" for value in values).encode() + name.encode() + b"\0"
    head += bytes(-len(head) % 4)
    return head + content + bytes(-len(content) % 4)


def a_cpio(files: dict[str, bytes]) -> bytes:
    made = b"".join(a_cpio_file(name, content, ino=number) for number, (name, content) in enumerate(files.items(), 1))
    made += a_cpio_file("TRAILER!!!", b"", ino=0)
    return made + bytes(-len(made) % 512)


def some_files(**changes: bytes) -> dict[str, bytes]:
    intrinsics = b'{"task": "segmentation", "classes": {"labels": ["object"]}, "inference_rate": 30.0}'
    return {"imx500_regs": bytes(56 * 7), "network_info.txt": an_info(), "network_intrinsics": intrinsics} | changes


def an_rpk(**changes: bytes) -> bytes:
    return some_blocks() + a_cpio(some_files(**changes))
