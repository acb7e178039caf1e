"""Predict on many image files: what ``maskrcnnpp predict`` does."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from maskrcnnpp.errors import ConfigError, DataError, OutputError, UserError, printable
from maskrcnnpp.files import (
    PARTIAL,
    remove,
    remove_partial,
    write_json,
    write_json_list,
)
from maskrcnnpp.images import Raster, open_image
from maskrcnnpp.inference.marks import is_as_written, is_empty, mark, state_of
from maskrcnnpp.inference.naming import Naming
from maskrcnnpp.inference.predictor import Predictor
from maskrcnnpp.inference.record import RECORD_FILE, records
from maskrcnnpp.inference.semantic_predictor import SemanticPredictor
from maskrcnnpp.inference.stacks import Planes, check_planes, predict_stack
from maskrcnnpp.inference.writers import WRITERS, output_name
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.lock import LOCK_FILE

COCO_FILE = "coco_instances_results.json"
_DONE_FOLDER = ".done"
_NAME_BYTES = 255
_SCALE, _COUNT = "scale", "objects"  # of the marks of what is done, beside the formats


@dataclass(frozen=True)
class Job:
    """Files and what is to become of them."""

    files: Sequence[Path]
    output_dir: Path
    formats: Sequence[str]  #: keys of :data:`maskrcnnpp.inference.writers.WRITERS`
    channels: Sequence[int] | None = None
    level: int = 0  #: of pyramids, see :func:`maskrcnnpp.images.open_image`
    scene: str | None = None  #: see :func:`maskrcnnpp.images.open_image`
    #: Of stacks, and how they are stitched: see :func:`maskrcnnpp.inference.stacks.predict_planes`.
    planes: Planes | None = None
    stitch: float | None = None

    def outputs(self, file: Path) -> dict[str, Path]:
        """The files of an image by format: its whole name and the ending of the format."""
        is_stack = self.planes is not None
        names = {f: output_name(file.name, f, is_stack=is_stack) for f in self.formats}
        return {f: self.output_dir / name for f, name in names.items()}

    def open(self, file: Path) -> Raster:
        """An image, or the stack that it is; see :func:`maskrcnnpp.images.open_image`."""
        is_stack = self.planes is not None
        return open_image(file, self.channels, level=self.level, scene=self.scene, stacks=is_stack)

    def is_done(self, file: Path) -> bool:
        """Whether this very file, as it is now, has all its outputs."""
        return not self.missing(file)

    def missing(self, file: Path) -> dict[str, Path]:
        """Outputs by format that are still to be made of this very file, as it is now."""
        made, outputs = self._made(file), self.outputs(file)
        try:
            state = state_of(file)
        except OSError:  # it is gone
            return outputs
        return {
            name: path
            for name, path in outputs.items()
            if name not in made or made[name][0] != state or is_empty(path)
        }

    def changed(self, file: Path) -> list[Path]:
        """Outputs that are no longer what was written: somebody corrected them, say."""
        made = self._made(file)
        return [
            path
            for name, path in self.outputs(file).items()
            if name in made and not is_empty(path) and not is_as_written(path, made[name])
        ]

    def check_names(self, file: Path) -> None:
        """Check that the names of its outputs are not too long.

        Raises:
            DataError: they are.
        """
        paths = (*self.outputs(file).values(), self._marker(file))
        longest = max(len(os.fsencode(path.name)) for path in paths)
        if longest > _NAME_BYTES:
            raise DataError(
                f"{file}: its name is too long: with the ending of an output it has {longest} "
                f"bytes, and file systems take {_NAME_BYTES}; rename the image"
            )

    def begin(self, file: Path) -> dict[str, Path]:
        """Remove what was made of it before it was changed, if anything.

        Returns:
            the outputs to make, by format.

        Raises:
            DataError: one of them was changed since.
        """
        outputs = self.missing(file)
        if changed := set(self.changed(file)) & set(outputs.values()):
            raise DataError(
                f"{file}: the image was changed since it was predicted, and so was "
                f"{min(changed)}, which is not overwritten: move it elsewhere, or delete it, and "
                "run the same command again"
            )
        self._keep(file, {k: v for k, v in self._made(file).items() if k not in outputs})
        for path in outputs.values():
            remove(path)
        return outputs

    def mark_done(
        self,
        file: Path,
        state: str,
        outputs: Mapping[str, Path],
        scale: float = 1.0,
        count: int | None = None,
    ) -> None:
        """Call when the outputs are there.

        Args:
            state: :func:`state_of` the file, from before it was read.
            outputs: that were made, of :meth:`begin`.
            scale: factor by which it was resized for the model.
            count: of its objects, where it is known.
        """
        now = {name: mark(state, path) for name, path in outputs.items()}
        self._keep(file, {**self._made(file), **now, _SCALE: scale, _COUNT: count})

    def scales(self) -> dict[str, float]:
        """Factors by which images were resized for the model, where it is not 1, by their names."""
        found = {file.name: self._made(file).get(_SCALE, 1.0) for file in self.files}
        return {name: scale for name, scale in found.items() if scale != 1}

    def counts(self) -> dict[str, int]:
        """Objects of images, where that is known, by their names."""
        found = {file.name: self._made(file).get(_COUNT) for file in self.files}
        return {name: count for name, count in found.items() if count is not None}

    def is_fresh(self) -> bool:
        """Whether no image is done yet, with whatever settings."""
        folder = self.output_dir / _DONE_FOLDER
        return not (folder.is_dir() and any(folder.iterdir()))

    def _marker(self, file: Path) -> Path:
        return self.output_dir / _DONE_FOLDER / f"{file.name}.json"

    def _made(self, file: Path) -> dict[str, Any]:
        """By format: what the file was, and size, time and checksum of the output."""
        try:
            return dict(json.loads(self._marker(file).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def _keep(self, file: Path, made: dict[str, Any]) -> None:
        if made:
            write_json(self._marker(file), made)
        else:
            self._marker(file).unlink(missing_ok=True)

    def check(self, *, is_semantic: bool = False) -> None:
        """Check what can be before a model is loaded.

        Args:
            is_semantic: whether that is one of semantic segmentation.

        Raises:
            ConfigError: a format is unknown, the planes are impossible, or the output folder is one
                of the images' or has something else in it.
            DataError: two images of different folders have one name.
        """
        check_formats(self.formats, is_semantic=is_semantic)
        check_planes(self.planes, self.stitch, self.formats)
        if self.output_dir.exists() and not self.output_dir.is_dir():
            raise ConfigError(f"--output {self.output_dir} is a file: name a folder")
        folders = {file.parent.resolve() for file in self.files}
        output = self.output_dir.resolve()
        if {output, *output.parents} & {file.resolve() for file in self.files}:
            raise ConfigError(
                f"--output {self.output_dir} is in the folder of an image: choose one elsewhere"
            )
        if output in folders:
            raise ConfigError(
                f"--output {self.output_dir} is a folder of the images: choose one for the outputs"
            )
        there = self.output_dir.iterdir() if self.output_dir.is_dir() else ()
        # other shards may be starting
        is_used = any(not path.name.startswith((LOCK_FILE, PARTIAL)) for path in there)
        if is_used and not records(self.output_dir):
            raise ConfigError(
                f"--output {self.output_dir} holds files that are not of a run (there is no "
                f"{RECORD_FILE}): choose another or an empty folder"
            )
        names: dict[str, Path] = {}
        for file in self.files:
            other = names.setdefault(file.name, file)
            if other is not file:
                raise DataError(
                    f"{other} and {file} have one name, and would have one output: give them in "
                    "two runs with an --output each"
                )

    def remove_partial(self) -> None:
        """Remove what a run that was killed was writing."""
        for folder in (self.output_dir, self.output_dir / _DONE_FOLDER):
            remove_partial(folder)


def images_of_run(output_dir: Path) -> dict[str, tuple[Path, int] | None]:
    """Images of a run by name: where each was and how many bytes it had, as far as that is kept."""
    found: dict[str, tuple[Path, int] | None] = {}
    for marker in (output_dir / _DONE_FOLDER).glob("*.json"):
        try:
            made = {**json.loads(marker.read_text(encoding="utf-8")), _SCALE: None, _COUNT: None}
            state = next(of_output[0] for of_output in made.values() if of_output)
            path, size, _ = state[:-1].rsplit("\n", 2)
            found[marker.stem] = Path(path), int(size)
        except (OSError, ValueError, LookupError, TypeError, StopIteration):
            found[marker.stem] = None
    return found


def check_formats(formats: Sequence[str], *, is_semantic: bool) -> None:
    """Check that what a model finds can be written so.

    Args:
        formats: keys of :data:`maskrcnnpp.inference.writers.WRITERS`.
        is_semantic: whether the model is one of semantic segmentation.

    Raises:
        ConfigError: there is none, one is unknown or of other models, or a package is missing.
    """
    unknown = set(formats) - set(WRITERS)
    if unknown or not formats:
        raise ConfigError(
            f"--format {sorted(unknown)}: there is no such format; choose of {list(WRITERS)}"
        )
    for name in formats:
        if WRITERS[name].is_semantic and not is_semantic:
            raise ConfigError(
                f"--format {name} is of models of semantic segmentation; this one finds objects"
            )
        lacking = [p for p in WRITERS[name].packages if importlib.util.find_spec(p) is None]
        if lacking:
            raise ConfigError(
                f"--format {name} needs {' and '.join(lacking)}: pip install "
                f"'maskrcnnpp[{WRITERS[name].extra}]', or leave it out"
            )


def leave_out(file: Path, reason: str) -> None:
    """Say why a file has no output."""
    named = reason if str(file) in reason else f"{file}: {reason}"
    tqdm.write(printable(f"left out: {named}").replace("\n", "\\n"), file=sys.stderr)


def predict_files(
    predictor: Predictor | SemanticPredictor,
    job: Job,
    files: Sequence[Path],
    naming: Naming,
    *,
    quiet: bool = False,
    leave_out: Callable[[Path, str], None] = leave_out,
) -> None:
    """Predict on ``files``, some of the job's.

    One that cannot be read, or needs more memory than there is, is reported and left out; the rest
    goes on. Outputs appear whole or not at all.

    Args:
        naming: of :func:`maskrcnnpp.inference.naming.find_naming`.
        quiet: show no progress.
        leave_out: is told a file, and why it is left out.

    Raises:
        UserError: outputs cannot be written, as on a full disk, or something is not installed.
    """
    predictor.progress = not quiet
    for file in tqdm(files, desc="images", unit="image", disable=quiet or len(files) < 2):
        try:
            job.check_names(file)
            with writing_to(job.output_dir):
                outputs = job.begin(file)
            state, image_id = state_of(file), naming.image_id(file)
            with job.open(file) as raster:
                done = _predict(predictor, job, outputs, Info(image_id, raster, naming))
            with writing_to(job.output_dir):
                job.mark_done(file, state, outputs, *done)
        except (DataError, OSError) as error:
            leave_out(file, str(error))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            leave_out(
                file,
                "out of memory; lower --tile-size, --batch-size or, with --opts, "
                "TEST.DETECTIONS_PER_IMAGE",
            )


def is_out_of_memory(error: Exception) -> bool:
    """Whether the memory of the machine or of its GPU did not suffice."""
    # PyTorch's own on a GPU; on the CPU a RuntimeError that says so
    is_of_gpu = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or is_of_gpu or "can't allocate memory" in str(error)


def _predict(
    predictor: Predictor | SemanticPredictor, job: Job, outputs: Mapping[str, Path], info: Info
) -> tuple[float, int | None]:
    """Predict on an image and write the outputs.

    Returns:
        the factor by which it was resized, and how many objects it has; None for a stack.
    """
    if job.planes is not None:
        with writing_to(job.output_dir):
            return predict_stack(predictor, job.planes, job.stitch, info, outputs), None
    objects = predictor(info.raster)
    with writing_to(job.output_dir):
        for name, path in outputs.items():
            WRITERS[name].write(objects, info, path)
    return objects.scale, len(objects)


@contextmanager
def writing_to(output_dir: Path) -> Iterator[None]:
    """End the run where the folder takes no more, which the next image would meet too."""
    try:
        yield
    except (OutputError, OSError) as error:
        what = (
            f"{output_dir} cannot be written to: {error.strerror or error}"
            if isinstance(error, OSError)
            else error
        )
        raise UserError(
            f"{what}; mend that and run the same command again: it goes on where it stopped"
        ) from error


def collect_coco(job: Job) -> None:
    """Write the COCO results of all images that have them to one file; nothing without that format.

    In the order of the files.

    Raises:
        UserError: it cannot be written.
    """
    if "coco" not in job.formats:
        return
    results = (
        result
        for file in job.files
        if job.is_done(file)
        for result in json.loads(job.outputs(file)["coco"].read_text(encoding="utf-8"))
    )
    with writing_to(job.output_dir):
        write_json_list(job.output_dir / COCO_FILE, results)
