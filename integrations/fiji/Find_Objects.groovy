/*
 * Find nuclei or cells with maskrcnnpp, in Fiji (or ImageJ with Groovy).
 *
 * In the plane that is shown, with all its channels, and inside the selection where there is one.
 * What is found is added to the ROI Manager. See docs/how-to/fiji.md.
 */

import ij.IJ
import ij.plugin.Duplicator
import ij.plugin.frame.RoiManager
import java.awt.Rectangle
import java.nio.file.Files
import java.util.zip.ZipFile

// the program, such as ["/home/me/project/.venv/bin/maskrcnnpp"] where it is not on the PATH
def command = ["maskrcnnpp"]
// of `maskrcnnpp predict`, such as ["--config-file", "/.../config.yaml", "--weights", "/.../model_final.pth"]
def options = ["--model", "nuclei"]

def image = IJ.getImage()
def selection = image.getRoi()?.isArea() ? image.getRoi() : null
if (!selection)
    image.deleteRoi()
// a selection may reach over the side of the image
def place = new Rectangle(image.getWidth(), image.getHeight())
if (selection)
    place = place.intersection(selection.getBounds())
def (z, t) = [image.getZ(), image.getT()]
def plane = new Duplicator().run(image, 1, image.getNChannels(), z, z, t, t)

def folder = Files.createTempDirectory("maskrcnnpp").toFile()
try {
    def file = new File(folder, "image.tif").getPath()
    def output = new File(folder, "output")
    IJ.saveAsTiff(plane, file)
    def words = [*command, "predict", file, "--output", output.getPath(), "--format", "rois", *options]
    def process = new ProcessBuilder(words.collect { it.toString() }).redirectErrorStream(true).start()
    process.getOutputStream().close()
    process.getInputStream().eachLine { IJ.log(it) }
    if (process.waitFor() != 0)
        throw new RuntimeException("maskrcnnpp stopped: the lines in the Log window say why")

    def found = new File(output, "image.tif.rois.zip")
    def zip = new ZipFile(found)
    def count = zip.size()
    zip.close()
    IJ.log("${count} objects")
    if (count) {
        def manager = RoiManager.getInstance() ?: new RoiManager()
        def before = manager.getCount()
        manager.runCommand("Open", found.getPath())
        def rois = manager.getRoisAsArray()
        for (int k = before; k < rois.length; k++) {
            def bounds = rois[k].getBounds()
            rois[k].setLocation(bounds.x + place.x, bounds.y + place.y)
            if (image.getNSlices() * image.getNFrames() > 1)
                image.isHyperStack() ? rois[k].setPosition(0, z, t) : rois[k].setPosition(image.getCurrentSlice())
        }
        manager.runCommand(image, "Show All")
    }
} finally {
    folder.deleteDir()
}
