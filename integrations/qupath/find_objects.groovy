/*
 * Find nuclei or cells with maskrcnnpp, in QuPath 0.4 or newer.
 *
 * In the selected annotations, or in the whole image where none is selected. What is found is added
 * as detections, with class and score. See docs/how-to/qupath.md.
 */

import java.awt.geom.AffineTransform
import java.nio.file.Files
import qupath.lib.io.PathIO
import qupath.lib.objects.PathObjectTools
import qupath.lib.regions.RegionRequest
import static qupath.lib.scripting.QP.*

// the program, such as ["/home/me/project/.venv/bin/maskrcnnpp"] where it is not on the PATH
def command = ["maskrcnnpp"]
// of `maskrcnnpp predict`, such as ["--config-file", "/.../config.yaml", "--weights", "/.../model_final.pth"]
def options = ["--model", "nuclei"]
// 2 looks at every second pixel in both directions
double downsample = 1

def server = getCurrentServer()
if (server.nZSlices() * server.nTimepoints() > 1)
    throw new IllegalArgumentException("the image has several planes; this script takes images of one")
def parents = getSelectedObjects().findAll { it.isAnnotation() && it.getROI().isArea() }
def regions = (parents ?: [null]).collect { parent ->
    def roi = parent?.getROI()
    // an annotation may reach over the side of the image
    int left = roi ? Math.max(0, Math.floor(roi.getBoundsX())) : 0
    int top = roi ? Math.max(0, Math.floor(roi.getBoundsY())) : 0
    int right = roi ? Math.min(server.getWidth(), Math.ceil(roi.getBoundsX() + roi.getBoundsWidth())) : server.getWidth()
    int bottom = roi ? Math.min(server.getHeight(), Math.ceil(roi.getBoundsY() + roi.getBoundsHeight())) : server.getHeight()
    RegionRequest.createInstance(server.getPath(), downsample, left, top, right - left, bottom - top)
}

def folder = Files.createTempDirectory("maskrcnnpp").toFile()
try {
    def images = new File(folder, "images")
    def output = new File(folder, "output")
    images.mkdir()
    regions.eachWithIndex { region, k ->
        writeImageRegion(server, region, new File(images, "${k}.tif").getPath())
    }
    def words = [*command, "predict", images.getPath(), "--output", output.getPath(), "--format", "geojson", *options]
    def process = new ProcessBuilder(words.collect { it.toString() }).redirectErrorStream(true).start()
    process.getOutputStream().close()
    process.getInputStream().eachLine { println it }
    if (process.waitFor() != 0)
        throw new RuntimeException("maskrcnnpp found nothing in some images: its lines above say why")

    regions.eachWithIndex { region, k ->
        // pixels of the file to pixels of the image: the file has whole pixels only
        double x = region.getWidth() / Math.max(1, Math.round(region.getWidth() / downsample))
        double y = region.getHeight() / Math.max(1, Math.round(region.getHeight() / downsample))
        def transform = new AffineTransform(x, 0, 0, y, region.getX(), region.getY())
        def found = PathIO.readObjects(new File(output, "${k}.tif.geojson")).collect {
            PathObjectTools.transformObject(it, transform, true)
        }
        found.each {
            def measured = it.getMeasurementList()
            measured.put("area px^2", measured.get("area px^2") * x * y)
        }
        def parent = parents ? parents[k] : null
        if (parent) {
            def roi = parent.getROI()
            found = found.findAll { roi.contains(it.getROI().getCentroidX(), it.getROI().getCentroidY()) }
            parent.addChildObjects(found)
        } else {
            addObjects(found)
        }
        println "${found.size()} objects in ${parent ?: 'the image'}"
    }
    fireHierarchyUpdate()
} finally {
    folder.deleteDir()
}
