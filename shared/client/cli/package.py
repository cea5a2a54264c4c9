"""`picofleet package`: what a camera installs, looked at and vouched for on this machine. `packaging` has the rest."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.client.cli import package_view
from shared.client.cli.common import JsonFlag, UsageError, checked, client, err, escaped, out, pairs, print_json, show_fields
from shared.client.errors import ClientError, Unusable
from shared.contracts.packages import ReleaseStatement
from shared.contracts.packaging import ReturnIn

app = typer.Typer(no_args_is_help=True, help="Packages for cameras: make, download, inspect, verify, sign.")

PackageArgument = Annotated[Path, typer.Argument(exists=True, help="Package: a folder, .tar or .tar.gz.")]
KeyOption = Annotated[str, typer.Option("--key", help="Private key file of mode 600, or a PKCS#11 URI.")]
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        envvar="PICOFLEET_PACKAGE_KEYS",
        exists=True,
        dir_okay=False,
        help="Trusted keys: a key list, or one public key; default: the platform's.",
    ),
]


@app.command("inspect")
def inspect(
    file: Annotated[Path, typer.Argument(exists=True, help="A package, a network.rpk or a packerOut.zip.")],
    as_json: JsonFlag = False,
) -> None:
    """Show what is in a package, a network.rpk or a packerOut.zip: networks, tensors, input normalisation, files.

    Warns where the sensor would not do what the network expects, as mean and std. Whoever made it: see `verify`.

    picofleet package inspect network.rpk
    """
    with told():
        found = package_view.looked_into(file)
    if as_json:
        print_json(found.as_json())
    else:
        package_view.show(found)


@app.command("verify")
def verify(
    ctx: typer.Context,
    package: PackageArgument,
    keys: KeysOption = None,
    floor: Annotated[int, typer.Option(min=0, help="Lowest release that is taken: the highest that was installed before.")] = 0,
    statement: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Signed return to this older release; STATEMENT.sig beside it."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check signature, every byte and the release number of a package, as a camera does before it installs it.

    picofleet package verify picosam2-7.tar --keys keys.json --floor 6
    """
    with told():
        from shared.kit.packages.keys import read_trusted
        from shared.kit.packages.statements import SignedStatement
        from shared.kit.packages.verifying import verify as verified

        signed = SignedStatement.read(statement) if statement else None
        trusted = read_trusted(keys) if keys is not None else client(ctx).packages.keys()
        found = verified(package, trusted, floor=floor, statement=signed)
    if as_json:
        print_json(package_view.verified_fields(found))
        return
    show_fields(package_view.verified_fields(found).items())
    err().print(f"Verified: {len(found.manifest.files)} files, each as it was signed.")


@app.command("keygen")
def keygen(
    path: Annotated[Path, typer.Argument(help="The private key; the public one goes beside it, as PATH.pub.")],
    trust: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Key list that takes the public key; made if missing.")
    ] = None,
    comment: Annotated[str, typer.Option(help="For the key list.")] = "",
    retire_others_at: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="When the list's other keys end; UTC.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a key pair that signs packages: ECDSA P-256, readable by you alone. Never overwrites.

    picofleet package keygen packages.pem --trust keys.json
    """
    if retire_others_at is not None and trust is None:
        raise UsageError("--retire-others-at needs the list that they are in.", hint="Add --trust keys.json.")
    with told():
        from shared.kit.packages import keys

        made = keys.generate(path).model_copy(update={"comment": comment})
        if trust is not None:
            until = retire_others_at.replace(tzinfo=UTC) if retire_others_at else None
            keys.trust(trust, made, retire_others_at=until)
    if as_json:
        print_json(made)
    else:
        out().print(made.id)
        err().print(f"{escaped(str(path))} signs; whoever has {escaped(str(path))}.pub can verify. Keep the first one secret.")


@app.command("sign")
def sign(
    package: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The package's folder.")], key: KeyOption
) -> None:
    """Sign a package's folder; its files must be those of its manifest. The jobs service signs what packaging jobs make."""
    with told():
        from shared.kit.packages.signing import sign_package

        sign_package(package, key)
    err().print(f"{escaped(str(package))} is signed.")


@app.command("allow-return")
def allow_return(
    ctx: typer.Context,
    line: Annotated[str, typer.Argument(help="Model line, as picosam2.")],
    from_release: Annotated[int, typer.Option("--from", min=1, help="The newest release that is to be left.")],
    to_release: Annotated[int, typer.Option("--to", min=1, help="The older one to return to.")],
    reason: Annotated[str, typer.Option(help="Why; cameras show it.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="Statement; its signature goes to OUTPUT.sig.")
    ],
    key: Annotated[
        str | None, typer.Option("--key", help="Private key file of mode 600, or a PKCS#11 URI; default: the platform signs.")
    ] = None,
) -> None:
    """Sign the return of a line to an older release: without, cameras take no lower number.

    picofleet package allow-return picosam2 --from 9 --to 7 --reason "masks too small" -o return.json
    """
    wanted = checked(lambda: ReturnIn(from_release=from_release, to_release=to_release, reason=reason))
    with told():
        from shared.kit.packages.signing import sign_statement
        from shared.kit.packages.statements import SignedStatement

        if key is None:
            signed = client(ctx).packages.sign_return(line, wanted)
            SignedStatement(signed.statement.encode(), signed.signature.encode()).write(output)
        else:
            fields = wanted.model_dump() | {"line": line, "issued_at": datetime.now(UTC)}
            sign_statement(checked(lambda: ReleaseStatement.model_validate(fields)), key).write(output)
    err().print(f"Cameras of {line} that saw at most release {from_release} may return to {to_release}.")


@app.command("intrinsics")
def intrinsics(
    rpk: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A network.rpk.")],
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="As task=segmentation; VALUE may be JSON. May be repeated."),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", exists=True, dir_okay=False, help="JSON that replaces all of them.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Leave them out.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", dir_okay=False, help="Where the changed rpk goes.")] = None,
) -> None:
    """Show an rpk's network intrinsics, or write them anew. Every other byte stays as it was.

    picofleet package intrinsics network.rpk --set 'classes.labels=["cup"]' --set inference_rate=15 -o changed.rpk
    """
    changes = pairs(change or [], "--set")
    if sum([bool(changes), source is not None, remove]) > 1:
        raise UsageError("Only one of --set, --from and --remove can be.")
    changing = bool(changes) or source is not None or remove
    if changing != (output is not None):
        raise UsageError(
            "A change needs --output, and --output a change.", hint="Add --output changed.rpk and --set, --from or --remove."
        )
    with told():
        from shared.kit.rpk import reader

        content = reader.contents(rpk)
        present = reader.parse(content).intrinsics
        if output is None:
            print_json(present)
            return
        wanted = None if remove else _json(source) if source else _with(present or {}, changes)
        _save(output, reader.with_intrinsics(content, wanted))
    err().print(f"{escaped(str(output))} is written.")


@contextmanager
def told() -> Iterator[None]:
    """Errors of packages as this command reports them: exit code 2 for a file of no use, 1 for one that is not as signed."""
    from shared.kit.packages.errors import KeyFileRefused, PackageError, PackageUnreadable
    from shared.kit.rpk.errors import RpkError

    try:
        yield
    except (KeyFileRefused, PackageUnreadable, RpkError) as exc:
        raise Unusable(f"{exc}.", hint=exc.hint) from exc
    except PackageError as exc:
        raise ClientError(f"{exc}.", hint=exc.hint) from exc
    except FileExistsError as exc:
        raise UsageError(f"{exc.filename2 or exc.filename} is there already.", hint="Keys are never overwritten.") from exc


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as exc:
        raise Unusable(f"{path} is no JSON: {exc}.") from exc
    if not isinstance(found, dict):
        raise Unusable(f"{path} holds no JSON object.")
    return found


def _with(present: dict[str, Any], changes: dict[str, str]) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(present))
    for field, text in changes.items():
        *parents, last = field.split(".")
        place = changed
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise UsageError(f"--set {field}: {parent} is a value, not a group of fields.")
        try:
            place[last] = json.loads(text)
        except ValueError:
            place[last] = text
    return changed


def _save(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)
