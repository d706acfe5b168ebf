"""`omniup probe`: train a linear probe of a network's features on pictures with label maps, and label pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniup.cli import options
from omniup.cli.outputs import output_file
from omniup.cli.report import Report
from omniup.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from omniup.encoders import EncodedImage, Encoder
    from omniup.evaluation.label_probe import LabelProbe

app = typer.Typer()

_SUFFIXES = (".png", ".npy", ".npz", ".safetensors")


@app.callback(invoke_without_command=True)
def probe(context: typer.Context) -> None:
    """Label pictures with a linear probe of a network's features."""
    options.show_help(context)


@app.command()
def fit(
    inputs: options.Pictures,
    output: Annotated[str, typer.Option("--output", "-o", metavar="PROBE", help="File for the probe: .safetensors.")],
    encoder: options.EncoderName,
    encoder_set: options.EncoderSettings = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the label maps, NAME.png or NAME.npy for each picture; by default NAME.labels.png beside "
            "it.",
        ),
    ] = None,
    ignore: Annotated[
        list[int] | None,
        typer.Option("--ignore", min=0, metavar="N", help="A label that counts for nothing; may be repeated."),
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(
            "--validation",
            metavar="DIR",
            help="Other pictures with label maps beside them, to measure the mean intersection over union on.",
        ),
    ] = None,
    resolution: options.Resolution = None,
    sides: options.Padding = "resize",
    precision: options.Precision = "float32",
    overwrite: options.Overwrite = False,
    memory: options.Memory = options.DEFAULT_MEMORY,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a linear probe on pictures with label maps, for `omniup probe predict`.

    For example: omniup probe fit streets --encoder timm:vit_small_patch14_dinov2 -o streets.safetensors
    """
    report = Report(as_json, quiet, verbose)
    if Path(output).suffix != ".safetensors":
        raise InputError(output, "is no name for a file of a probe", "names that end in .safetensors")

    from omniup.cli import encoding
    from omniup.cli.probe_record import ProbeRecord
    from omniup.evaluation.label_probe import FEWEST, VECTORS, LabelProbe

    where = options.pick_device(device)
    pairs = _pairs(inputs, labels, output)
    unseen = _pairs(validation, None, output) if validation else {}
    how = encoding.view(resolution, sides, precision)
    ignored = frozenset(ignore or ())
    read = [*pairs, *map(str, pairs.values()), *encoding.files(encoder_set)]
    with output_file(output, read, overwrite):
        with report.stage("load"):
            network = encoding.build(encoder, encoder_set)
        reader = _Reader(network, how, str(where))
        with report.stage("encode and fit"), encoding.placed(encoder):
            per_image = max(FEWEST, VECTORS // len(pairs))
            made = LabelProbe.fit(reader.read(pairs), ignore=ignored, per_image=per_image)
        facts: dict[str, Any] = {"output": output, "pictures": len(pairs), "labels": list(made.labels)}
        if unseen:
            with report.stage("measure"):
                facts |= _measure(made, reader.read(unseen), ignored, memory) | {"validation_pictures": len(unseen)}
        settings = options.pick_settings(encoder_set)
        seen = {"weights": reader.weights, "palette": reader.palette}
        with report.stage("write"):
            made.save(output, ProbeRecord(encoder=encoder, settings=settings, **seen, **how).metadata())
    facts |= {"encoder": encoder, "weights": reader.weights, "device": str(where), "seconds": report.seconds}
    report.note(f"{output}: {len(made.labels)} labels from {len(pairs)} pictures ({report.times})")
    if unseen:
        said = f"mean IoU {facts['mean_iou']:.1f} %, {facts['pixel_accuracy']:.1f} % of pixels right,"
        report.note(f"{', '.join(validation or [])}: {said} on {len(unseen)} pictures")
    report.result(facts)


@app.command()
def predict(
    probe: Annotated[
        str, typer.Argument(metavar="PROBE", show_default=False, help="A file that `omniup probe fit` wrote.")
    ],
    inputs: options.Pictures,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A file for the labels of one picture, .png, .npy, .npz or .safetensors; or a folder, for "
            "NAME.labels.png of each picture.",
        ),
    ],
    size: options.ResultSize = None,
    method: options.Method = options.DEFAULT_METHOD,
    settings: options.Settings = None,
    overwrite: options.Overwrite = False,
    memory: options.Memory = options.DEFAULT_MEMORY,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Label pictures with a PROBE, at their resolution.

    For example: omniup probe predict streets.safetensors photo.jpg -o labels.png
    """
    report = Report(as_json, quiet, verbose)

    from omniup.cli import encoding, signals
    from omniup.cli.inputs import find_pictures, read_picture
    from omniup.cli.outputs import Target
    from omniup.cli.picture_results import PictureResults
    from omniup.cli.probe_record import ProbeRecord
    from omniup.encoders import encode_image, encoder
    from omniup.evaluation.label_probe import LabelProbe

    where = options.pick_device(device)
    pictures = find_pictures(inputs, results=output)
    results = PictureResults(pictures, output, suffixes=_SUFFIXES, default=".labels.png")
    with report.stage("load"):
        made, metadata = LabelProbe.load(probe)
        record = ProbeRecord.read(probe, metadata)
        with encoding.placed(record.encoder):
            network = encoder(record.encoder, **record.settings)
    how = encoding.view(record.resolution, record.sides, record.precision)
    facts = []
    with results.own("probe predict", [results.suffix], [probe, *pictures], overwrite), report.stage("predict"):
        for source in pictures:
            wanted = None if size is None else size.size
            encoded = encode_image(read_picture(source).to(where), network, size=wanted, **how)
            found = made.predict(encoded, method=method, memory=memory, **options.pick_settings(settings))
            target = Target(results.file(source, results.suffix), overwrite=overwrite)
            target.check(found)
            palette = record.palette if found.max() < 2**8 else None
            signals.write(found, palette, target)
            facts.append({"image": source, "labels": target.argument, "shape": list(found.shape)})
            report.note(f"{target.argument}: {' x '.join(map(str, found.shape[2:]))}, {len(found.unique())} labels")
    if encoded.encoding.weights != record.weights:
        report.note(f"{probe}: fitted to weights {record.weights}, and these are {encoded.encoding.weights}")
    report.result({"probe": probe, "pictures": facts, "device": str(where), "seconds": report.seconds})


class _Reader:
    """Read pictures with label maps, and encode them.

    Args:
        network: the encoder.
        how: settings of `encode_image`.
        device: where to compute.

    Attributes:
        palette: the colours of the labels in the first label map that has some.
        weights: of the encoder, in plain words, once it was used.
    """

    def __init__(self, network: Encoder, how: dict[str, Any], device: str) -> None:
        self._network, self._how, self._device = network, how, device
        self.palette: list[int] | None = None
        self.weights = ""

    def read(self, pairs: dict[str, Path]) -> Iterator[tuple[EncodedImage, Tensor]]:
        """Yield encoded pictures with their label maps [1, 1, H, W].

        Raises:
            InputError: one cannot be read, or they differ in size.
        """
        from omniup.cli.inputs import read_picture
        from omniup.encoders import encode_image
        from omniup.files import read_stored
        from omniup.files.stored import LABELS

        for source, path in pairs.items():
            picture = read_picture(source)
            stored = read_stored(path, noun="labels", accepted=LABELS)
            labels = stored.labels()[None]
            if labels.shape[2:] != picture.shape[2:]:
                sizes = {"labels": list(labels.shape[2:]), "image": list(picture.shape[2:])}
                raise InputError(str(path), "is {labels}", "the photograph's size, {image}", **sizes)
            self.palette = self.palette or stored.palette
            encoded = encode_image(picture, self._network, device=self._device, **self._how)
            self.weights = encoded.encoding.weights
            yield encoded, labels


def _pairs(inputs: list[str], labels: str | None, output: str) -> dict[str, Path]:
    """Find the label map of each picture; nothing is taken from the folder of the results.

    Raises:
        InputError: there are no pictures, or one has no label map.
    """
    from omniup.cli.inputs import find_pictures

    found = {}
    for source, name in find_pictures(inputs, results=output).items():
        bare = Path(source) if labels is None else Path(labels, name)
        endings = (".labels.png", ".labels.npy") if labels is None else (".png", ".npy", ".labels.png", ".labels.npy")
        maps = [path for ending in endings if (path := bare.with_suffix(ending)).is_file() and str(path) != source]
        if not maps:
            raise InputError(source, "has no label map {name}", name=bare.with_suffix(endings[0]))
        found[source] = maps[0]
    return found


def _measure(
    probe: LabelProbe, pairs: Iterator[tuple[EncodedImage, Tensor]], ignore: frozenset[int], memory: str
) -> dict[str, float]:
    """Measure the mean intersection over union and the accuracy of a probe on pictures that it was not fitted to."""
    from omniup.evaluation.label_probe import at_size
    from omniup.evaluation.metrics.labels import accuracy, confusion, confusion_overlaps, mean_iou

    numbers = {label: index for index, label in enumerate(probe.labels)}
    total: Any = 0
    for encoded, labels in pairs:
        found = probe.probabilities(encoded, memory=memory).argmax(1)[0].cpu()  # [H, W]
        truth = at_size(labels, (found.shape[0], found.shape[1]))[0, 0]
        known = truth.clone().fill_(-1)
        for label, index in numbers.items():
            if label not in ignore:
                known[truth == label] = index
        total = total + confusion(found.numpy(), known.numpy(), len(numbers))
    return {"mean_iou": mean_iou(confusion_overlaps(total)), "pixel_accuracy": accuracy(total)}
