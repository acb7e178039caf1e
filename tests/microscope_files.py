"""Small CZI, LIF and ND2 files for tests, as their formats say. Pixels are uint16 (z, c, y, x)."""

import struct

LUTS = ("Green", "Red", "Blue")
_HEADER = "IIQ"  # of a chunk of ND2: magic number, bytes of its name, bytes of what follows


def write_czi(path, pixels, micrometres=0.5):
    """With the channels DAPI and GFP, and planes 2 micrometres apart; or RGB, uint8 (y, x, 3)."""
    from pylibCZIrw import czi

    with czi.create_czi(str(path)) as file:
        if pixels.ndim == 3:
            file.write(pixels[..., ::-1].copy(), plane={"C": 0})  # stored as blue, green, red
            file.write_metadata("test")
            return path
        for z, channels in enumerate(pixels):
            for c, plane in enumerate(channels):
                file.write(plane[..., None], plane={"T": 0, "Z": z, "C": c})
        side = micrometres * 1e-6
        names = dict(enumerate(("DAPI", "GFP")[: pixels.shape[1]]))
        file.write_metadata("test", names, scale_x=side, scale_y=side, scale_z=2e-6)
    return path


def write_lif(path, scenes, micrometres=0.5):
    """With these scenes by name."""
    elements, blocks = "", b""
    for number, (name, pixels) in enumerate(scenes.items()):
        depth, count, height, width = pixels.shape
        plane = height * width * pixels.itemsize
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" Min="0" Max="1" '
            f'NameOfMeasuredQuantity="" Unit="" LUTName="{LUTS[k]}" IsLUTInverted="0" '
            f'BytesInc="{k * plane}" BitInc="0"/>'
            for k in range(count)
        )
        axes = [(1, width, pixels.itemsize), (2, height, width * pixels.itemsize)]
        axes += [(3, depth, count * plane)] if depth > 1 else []
        dimensions = "".join(
            f'<DimensionDescription DimID="{kind}" NumberOfElements="{size}" Origin="0" '
            f'Length="{micrometres * 1e-6 * (size - 1)}" Unit="m" BitInc="0" BytesInc="{step}"/>'
            for kind, size, step in axes
        )
        elements += (
            f'<Element Name="{name}"><Data><Image><ImageDescription><Channels>{channels}'
            f"</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{pixels.nbytes}" MemoryBlockID="MemBlock_{number}"/></Element>'
        )
        block = f"MemBlock_{number}"
        about = (0x70, 14 + 2 * len(block), 0x2A, pixels.nbytes, 0x2A, len(block))
        blocks += struct.pack("<IIBQBI", *about) + block.encode("utf-16-le") + pixels.tobytes()
    xml = f'<LMSDataContainerHeader Version="2"><Element Name="test"><Children>{elements}'
    xml += "</Children></Element></LMSDataContainerHeader>"
    header = struct.pack("<IIBI", 0x70, 5 + 2 * len(xml), 0x2A, len(xml))
    path.write_bytes(header + xml.encode("utf-16-le") + blocks)
    return path


def write_nd2(path, pixels, micrometres=0.5):
    """A z-stack with planes 2 micrometres apart."""
    depth, count, height, width = pixels.shape
    more = {"uiCompCount": 1, "pFluorescentProbe": {"m_sName": "dye"}}
    planes = {f"a{k}": {"sDescription": LUTS[k], **more} for k in range(count)}
    chunks = {
        "ImageAttributesLV!": _xml(
            uiWidth=width, uiHeight=height, uiWidthBytes=2 * width * count, uiComp=count,
            uiBpcInMemory=16, uiBpcSignificant=16, uiSequenceCount=depth, eCompression=2,
        ),
        "ImageMetadataSeqLV|0!": _xml(
            bCalibrated=True, dCalibration=micrometres,
            sPicturePlanes={"uiCount": count, "sPlaneNew": planes},
        ),
        "ImageMetadataLV!": _xml(
            eType=4, uLoopPars={"uiCount": depth, "dZStep": 2.0},
        ),
    }  # fmt: skip
    chunks["CustomData|AcqTimesCache!"] = struct.pack(f"<{depth}d", *range(depth))
    chunks |= {f"ImageDataSeq|{z}!": bytes(8) + pixels[z].transpose(1, 2, 0).tobytes()
               for z in range(depth)}  # fmt: skip
    content = struct.pack(f"<{_HEADER}32s64s", 0x0ABECEDA, 32, 64,
                          b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0")  # fmt: skip
    table = b""
    for name, data in chunks.items():
        table += name.encode() + struct.pack("<QQ", len(content), len(data))
        # names have room for 4072 bytes, and pixels begin 8 bytes behind
        content += struct.pack(f"<{_HEADER}", 0x0ABECEDA, 4072, len(data))
        content += name.encode().ljust(4072, b"\0") + data
    table += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", len(content))
    start = struct.pack(f"<{_HEADER}", 0x0ABECEDA, 32, len(table))
    path.write_bytes(content + start + b"ND2 FILEMAP SIGNATURE NAME 0001!" + table)
    return path


def _xml(**values):
    kinds = {bool: "bool", int: "lx_int32", float: "double", str: "CLxStringW"}

    def node(name, value):
        if isinstance(value, dict):
            return f"<{name}>{''.join(node(*item) for item in value.items())}</{name}>"
        return f'<{name} runtype="{kinds[type(value)]}" value="{value}"/>'

    return node("variant", values).encode()
