"""Why an image or a form cannot be taken."""

from shared.kit.problems import BadRequest, InvalidRequest, PayloadTooLarge, Problem


class BadForm(BadRequest):
    """The multipart body is damaged, or lacks a part."""

    title = "Form cannot be read"
    hint = "send a part `image` with the file and a part `request` with JSON"


class UnsupportedBody(Problem):
    """Neither JSON nor a form."""

    status, title = 415, "Unsupported media type"
    hint = "send application/json or multipart/form-data"


class BadImage(InvalidRequest):
    """The image is damaged, cut off, or of a format that is not read."""

    title = "Image cannot be decoded"
    hint = "send a whole JPEG, PNG or WebP file"


class ImageTooLarge(PayloadTooLarge):
    """More bytes or pixels than are decoded here."""

    title = "Image is too large"
    hint = "scale the image down, or cut out the part that matters"
