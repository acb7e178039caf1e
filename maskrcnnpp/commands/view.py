"""The command ``maskrcnnpp view``."""

from __future__ import annotations

import argparse
import sys

from maskrcnnpp.errors import printable
from maskrcnnpp.inference.view import write_view


def run(args: argparse.Namespace) -> int:
    output = args.output or args.run_dir / "view.html"
    view = write_view(
        args.run_dir,
        output,
        images=args.images,
        max_images=args.max_images,
        max_objects=args.max_objects,
        size=args.size,
    )
    for remark in view.remarks:
        print(printable(remark), file=sys.stderr)
    print(f"{view.images} images, {view.objects} objects")
    print(f"page: {output} ({output.stat().st_size / 2**20:.1f} MB)")
    return 1 if view.is_incomplete else 0
