"""The scripts of integrations/, run by Groovy: for ImageJ with ImageJ, for QuPath with stand-ins.

Where there is no Groovy, Java, ImageJ or X server, these tests are skipped.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from detectron2.modeling import build_model

from maskrcnnpp import cli

ROOT = Path(__file__).parents[2]
IMAGEJ = Path("/usr/share/java/ij.jar")


def _has_groovy() -> bool:
    """Whether it runs, which needs a Java too."""
    if not shutil.which("groovy"):
        return False
    return not subprocess.run(["groovy", "--version"], capture_output=True).returncode


pytestmark = pytest.mark.skipif(not _has_groovy(), reason="needs Groovy")

# Only what the script calls, with objects that keep the numbers of GeoJSON's first ring.
QUPATH = '''
import groovy.json.*
import javax.imageio.ImageIO

def loader = new GroovyClassLoader()
loader.parseClass("""package qupath.lib.regions
@groovy.transform.Canonical class RegionRequest {
    double downsample; int x, y, width, height
    static createInstance(String path, double d, int x, int y, int w, int h) {
        new RegionRequest(d, x, y, w, h)
    }
}""")
loader.parseClass("""package qupath.lib.objects
class Measured extends HashMap { def put(String n, double v) { super.put(n, v) } }
class ROI {
    List points
    def isArea() { true }
    def getBoundsX() { points*.get(0).min() }
    def getBoundsY() { points*.get(1).min() }
    def getBoundsWidth() { points*.get(0).max() - boundsX }
    def getBoundsHeight() { points*.get(1).max() - boundsY }
    def getCentroidX() { boundsX + boundsWidth / 2 }
    def getCentroidY() { boundsY + boundsHeight / 2 }
    def contains(x, y) {
        x >= boundsX && x < boundsX + boundsWidth && y >= boundsY && y < boundsY + boundsHeight
    }
}
class PathObject {
    ROI roi; String kind, name; def measurementList = new Measured(); List children = []
    def getROI() { roi }
    def isAnnotation() { kind == "annotation" }
    void addChildObjects(Collection found) { children.addAll(found) }
}
class PathObjectTools {
    static transformObject(PathObject o, java.awt.geom.AffineTransform by, boolean keeps) {
        def points = o.roi.points.collect {
            double[] p = [it[0], it[1]]; by.transform(p, 0, p, 0, 1); p as List
        }
        def made = new PathObject(roi: new ROI(points: points), kind: o.kind, name: o.name)
        o.measurementList.each { k, v -> made.measurementList.put(k, (double) v) }
        made
    }
}""")
loader.parseClass("""package qupath.lib.io
import qupath.lib.objects.*
class PathIO {
    static List<PathObject> readObjects(File file) {
        new groovy.json.JsonSlurper().parse(file).features.collect { f ->
            def rings = f.geometry.coordinates
            def points = f.geometry.type == "Polygon" ? rings[0] : rings[0][0]
            def p = f.properties
            def made = new PathObject(roi: new ROI(points: points), kind: p.objectType)
            made.name = p.classification.name
            p.measurements.each { k, v -> made.measurementList.put(k, (double) v) }
            made
        }
    }
}""")
loader.parseClass("""package qupath.lib.scripting
class QP {
    static image, selected = [], added = []
    static getCurrentServer() { new QP() }
    def getPath() { "image" }
    def getWidth() { image.width }
    def getHeight() { image.height }
    def nZSlices() { 1 }
    def nTimepoints() { 1 }
    static getSelectedObjects() { selected }
    static void addObjects(found) { added.addAll(found) }
    static void fireHierarchyUpdate() {}
    static void writeImageRegion(server, region, String path) {
        int step = region.downsample
        def part = image.getSubimage(region.x, region.y, region.width, region.height)
        int width = Math.round(part.width / step), height = Math.round(part.height / step)
        def small = new java.awt.image.BufferedImage(width, height, 1)  // RGB
        for (y in 0..<height) {
            for (x in 0..<width) small.setRGB(x, y, part.getRGB(x * step, y * step))
        }
        assert javax.imageio.ImageIO.write(small, "tif", new File(path))
    }
}""")
def QP = loader.loadClass("qupath.lib.scripting.QP")
def (ROI, PathObject) = ["ROI", "PathObject"].collect { loader.loadClass("qupath.lib.objects.$it") }
QP.image = ImageIO.read(new File(args[1]))
def roi = ROI.newInstance(points: [[20, 10], [200, 10], [200, 74], [20, 74]])
def annotation = PathObject.newInstance(roi: roi, kind: "annotation")
if (args[2] == "selected") QP.selected = [annotation]
new GroovyShell(loader, new Binding()).evaluate(new File(args[0]))
def found = args[2] == "selected" ? annotation.children : QP.added
println "FOUND " + JsonOutput.toJson(found.collect {
    [points: it.roi.points, kind: it.kind, name: it.name, measured: it.measurementList]
})
'''

FIJI = """
import ij.*
import ij.plugin.frame.RoiManager
def image = IJ.openImage(args[1])
image.setRoi(20, 10, 64, 60)
WindowManager.setTempCurrentImage(image)
new GroovyShell().evaluate(new File(args[0]))
def rois = RoiManager.getInstance().getRoisAsArray()
println "FOUND " + groovy.json.JsonOutput.toJson(rois.collect { [it.bounds.x, it.bounds.y,
    it.bounds.width, it.bounds.height, it.getContainedPoints().length] })
System.exit(0)
"""


@pytest.fixture
def model(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    torch.manual_seed(0)
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    files = ["--config-file", str(tmp_path / "config.yaml")]
    return [*files, "--weights", str(tmp_path / "model.pth"), "--score", "0"]


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", pixels)
    return tmp_path / "image.tif"


def predicted(pixels, folder, model, *formats):
    """What the command makes of some pixels."""
    folder.mkdir()
    tifffile.imwrite(folder / "part.tif", np.ascontiguousarray(pixels))
    words = [str(folder / "part.tif"), "--output", str(folder / "out"), "--format", *formats]
    assert cli.run("predict", [*words, *model]) == 0
    return folder / "out"


def run(tmp_path, harness, script, settings, *words, before=(), path=()):
    """What a script of integrations/ found, with some of its lines replaced."""
    text = (ROOT / script).read_text()
    for line, new in settings.items():
        assert text.count(f"\n{line}\n") == 1, line
        text = text.replace(line, new)
    (tmp_path / "script.groovy").write_text(text)
    (tmp_path / "harness.groovy").write_text(harness)
    files = [str(tmp_path / name) for name in ("harness.groovy", "script.groovy")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*before, "groovy", *path, *files, *map(str, words)],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    (line,) = [x for x in done.stdout.splitlines() if x.startswith("FOUND ")] or [done]
    assert isinstance(line, str), done.stdout + done.stderr
    return json.loads(line.removeprefix("FOUND "))


def settings_of(model):
    command = f"def command = {json.dumps([sys.executable, '-m', 'maskrcnnpp'])}"
    return {
        'def command = ["maskrcnnpp"]': command,
        'def options = ["--model", "nuclei"]': f"def options = {json.dumps(model)}",
    }


def test_qupath_gets_the_objects_of_an_annotation_in_its_own_pixels(model, image, tmp_path):
    """The annotation reaches over the right side of the image; every second pixel is looked at."""
    settings = {**settings_of(model), "double downsample = 1": "double downsample = 2"}
    words = (image, "selected")
    found = run(tmp_path, QUPATH, "integrations/qupath/find_objects.groovy", settings, *words)
    part = tifffile.imread(image)[10:74:2, 20::2]
    out = predicted(part, tmp_path / "part", model, "geojson")
    features = json.loads((out / "part.tif.geojson").read_text())["features"]
    assert len(found) == len(features) > 0
    for ours, theirs in zip(features, found):
        geometry, properties = ours["geometry"], ours["properties"]
        rings = geometry["coordinates"]
        ring = rings[0] if geometry["type"] == "Polygon" else rings[0][0]
        assert theirs["points"] == [[2 * x + 20, 2 * y + 10] for x, y in ring]
        assert (theirs["kind"], theirs["name"]) == (
            "detection",
            properties["classification"]["name"],
        )
        measured = dict(properties["measurements"])
        measured["area px^2"] *= 4
        assert theirs["measured"] == pytest.approx(measured)


@pytest.mark.skipif(not (IMAGEJ.exists() and shutil.which("xvfb-run")), reason="needs ImageJ")
def test_imagej_gets_the_objects_of_a_selection(model, image, tmp_path):
    before, path = ["xvfb-run", "-a"], ["-cp", str(IMAGEJ)]
    script = "integrations/fiji/Find_Objects.groovy"
    found = run(tmp_path, FIJI, script, settings_of(model), image, before=before, path=path)
    out = predicted(tifffile.imread(image)[10:70, 20:84], tmp_path / "part", model, "labels")
    labels = tifffile.imread(out / "part.tif.labels.tif")
    assert len(found) == labels.max() > 0
    whole = 0
    for number, (x, y, width, height, pixels) in enumerate(found, start=1):
        rows, columns = np.nonzero(labels == number)
        assert columns.min() + 20 <= x and x + width <= columns.max() + 21
        assert rows.min() + 10 <= y and y + height <= rows.max() + 11
        whole += pixels == len(rows)  # of one part, without holes
    assert whole > 0
